// What `nvidia-smi topo -m` and `nvidia-smi topo -p2p r|w|n|a|p` print, as written to a file (tabs)
// or copied from a terminal (blanks). Other vendors' tools print the same form with other words
// (vendor_matrix.h), so the reader of the form itself is here too.
// Invariant: a matrix that is not whole is refused. A row or a column that is missing, twice or too
// many, a word that is not known, a matrix that is not symmetric: an error with row, column and
// file:line:column, never a guess.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "scheduler-core/base/result.h"
#include "topology/files/label_matrix.h"
#include "topology/graph.h"

namespace basalt::topology {

// --- the form ---

struct Dialect {
  std::string_view vendor;
  std::string_view fabric;
  std::string_view card;   // what cards are called: "GPU" for GPU0, GPU1, ...
  std::string_view words;  // the words between two devices, for messages
  std::optional<Label> (*read)(std::string_view word) = nullptr;
  bool symmetric = true;
  std::string_view tool;  // what prints it, for messages
};

struct MatrixInText {
  LabelMatrix matrix;
  std::size_t header = 0;  // byte at which the header line starts
  std::size_t end = 0;     // byte at which the next matrix starts, or the text ends
};

// The first matrix in text[from, ...). Text before it is passed over.
Result<MatrixInText> ReadMatrix(std::string_view text, const std::string& name,
                                const Dialect& dialect, std::size_t from = 0);

// Whether there is a header line with such cards in text[from, ...), and where it starts.
std::optional<std::size_t> FindMatrix(std::string_view text, std::string_view card,
                                      std::size_t from = 0);

// --- NVIDIA ---

const Dialect& SmiDialect();

Result<MachineGraph> ParseSmiTopo(std::string_view text, const std::string& name,
                                  const MatrixOptions& options = {});

struct P2pMatrix {
  std::vector<std::string> devices;
  std::vector<std::string> tokens;  // devices x devices, row-major: "OK", "CNS", ...
};

// The first P2P matrix from byte `from` on.
Result<P2pMatrix> ParseSmiP2p(std::string_view text, const std::string& name, std::size_t from = 0);

// Two cards are peers when both directions are OK, in all matrices applied. U (unknown) leaves
// what is known; everything else is a no. Fails when the cards are others than the graph's.
Status ApplyP2p(MachineGraph* graph, const P2pMatrix& matrix, const std::string& where);

}  // namespace basalt::topology
