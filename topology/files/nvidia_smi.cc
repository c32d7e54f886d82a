#include "topology/files/nvidia_smi.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <set>
#include <utility>

#include "topology/files/graph_builder.h"

namespace basalt::topology {
namespace {

constexpr int kMaxDevices = 256;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsBlank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

// A piece of a line with the byte of the text at which it starts. `place` is its column on screen.
struct Piece {
  std::string text;
  std::size_t offset = 0;
  std::size_t place = 0;
};

// A line without the escapes that switch underlining on and off, which nvidia-smi prints even into
// files.
struct Line {
  std::size_t start = 0;
  std::size_t next = 0;  // byte after the line
  std::string clean;
  std::vector<std::size_t> offsets;  // of each byte of clean

  bool tabs() const { return clean.find('\t') != std::string::npos; }
};

Line LineAt(std::string_view text, std::size_t start) {
  Line line;
  line.start = start;
  const std::size_t end = std::min(text.find('\n', start), text.size());
  line.next = std::min(end + 1, text.size());
  for (std::size_t i = start; i < end; ++i) {
    if (text[i] == '\x1b' && i + 1 < end && text[i + 1] == '[') {
      i += 2;
      while (i < end && (IsDigit(text[i]) || text[i] == ';')) ++i;
      continue;  // and the letter
    }
    line.clean += text[i];
    line.offsets.push_back(i);
  }
  while (!line.clean.empty() && line.clean.back() == '\r') line.clean.pop_back();
  line.offsets.resize(line.clean.size());
  return line;
}

std::vector<Piece> Split(const Line& line, bool at_tabs) {
  std::vector<Piece> out;
  std::size_t i = 0;
  const std::string& s = line.clean;
  const auto piece = [&](std::size_t from, std::size_t to) {
    while (from < to && IsBlank(s[from])) ++from;
    while (to > from && IsBlank(s[to - 1])) --to;
    const std::size_t offset = from < s.size() ? line.offsets[from] : line.next;
    out.push_back({s.substr(from, to - from), offset, from});
  };
  while (i < s.size()) {
    if (!at_tabs && IsBlank(s[i])) {
      ++i;
      continue;
    }
    std::size_t end = i;
    while (end < s.size() && (at_tabs ? s[end] != '\t' : !IsBlank(s[end]))) ++end;
    piece(i, end);
    i = end + 1;
  }
  if (at_tabs && s.ends_with('\t')) piece(s.size(), s.size());
  return out;
}

std::vector<Piece> Words(const Line& line) { return Split(line, false); }

bool IsCard(std::string_view word, std::string_view card) {
  return word.size() > card.size() && word.size() <= card.size() + 4 && word.starts_with(card) &&
         std::ranges::all_of(word.substr(card.size()), IsDigit);
}

enum class Heading { kCpu, kNuma, kOther };

// "CPU Affinity", "NUMA Affinity", "GPU NUMA ID": the columns after the devices. nullopt when the
// words from `at` on are none.
std::optional<Heading> HeadingAt(const std::vector<Piece>& words, std::size_t* at) {
  const auto is = [&](std::size_t i, std::string_view word) {
    return *at + i < words.size() && words[*at + i].text == word;
  };
  if ((is(0, "CPU") || is(0, "NUMA") || is(0, "Node")) && is(1, "Affinity")) {
    const Heading out = is(0, "CPU") ? Heading::kCpu : Heading::kNuma;
    *at += 2;
    return out;
  }
  if (is(1, "NUMA") && is(2, "ID")) {
    *at += 3;
    return Heading::kOther;
  }
  return std::nullopt;
}

// Names of NICs end in a number: NIC0, mlx5_0, hfi1_0, bnxt_re1.
bool IsDeviceName(std::string_view word) {
  return word.size() >= 2 && word.size() <= 32 && IsDigit(word.back()) &&
         std::isalpha(static_cast<unsigned char>(word.front())) != 0 &&
         std::ranges::all_of(word, [](char c) {
           return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-';
         });
}

struct Header {
  std::vector<Piece> devices;
  std::vector<Heading> columns;
};

// The devices' names and the columns after them; nullopt when the line is something else.
std::optional<Header> HeaderOf(const Line& line, std::string_view card) {
  const std::vector<Piece> words = Words(line);
  if (words.empty() || !IsCard(words.front().text, card)) return std::nullopt;
  Header out;
  std::size_t i = 0;
  while (i < words.size()) {
    if (const auto heading = HeadingAt(words, &i)) {
      out.columns.push_back(*heading);
      continue;
    }
    if (!out.columns.empty() || !IsDeviceName(words[i].text)) return std::nullopt;
    out.devices.push_back(words[i++]);
  }
  // "GPU0 NV12" may be a row of a torn matrix: a NIC cannot come second unless headings follow.
  const bool sure = !out.columns.empty() || IsBlank(line.clean.front()) || out.devices.size() > 2;
  const bool second = out.devices.size() > 1 && IsCard(out.devices[1].text, card);
  if (!sure && !second) return std::nullopt;
  return out;
}

class Reader {
 public:
  Reader(std::string_view text, const std::string& name, const Dialect& dialect)
      : text_(text), name_(name), d_(dialect) {}

  Result<MatrixInText> Read(std::size_t from) {
    const auto start = FindMatrix(text_, d_.card, from);
    if (!start) {
      return Fail(name_, "no line with the cards' names (" + std::string(d_.card) + "0 ...); " +
                             "is it the output of \"" + std::string(d_.tool) + "\"?");
    }
    out_.header = *start;
    m_.vendor = d_.vendor;
    m_.fabric = d_.fabric;
    const Line line = LineAt(text_, *start);
    header_ = *HeaderOf(line, d_.card);
    for (Status (Reader::* const step)() :
         {&Reader::ReadDevices, &Reader::ReadRows, &Reader::CheckCells, &Reader::CheckCpus}) {
      const Status ok = (this->*step)();
      if (!ok) return tl::unexpected(ok.error());
    }
    ReadLegend();
    return std::move(out_);
  }

 private:
  tl::unexpected<Error> Bad(std::size_t offset, std::string message) const {
    return Fail(PlaceOf(name_, text_, offset), std::move(message));
  }
  int size() const { return static_cast<int>(m_.devices.size()); }
  const std::string& Device(int i) const { return m_.devices[static_cast<std::size_t>(i)]; }

  Status ReadDevices() {
    if (header_.devices.size() > kMaxDevices) {
      return Bad(out_.header, "more than " + std::to_string(kMaxDevices) + " devices");
    }
    for (const Piece& device : header_.devices) {
      if (!rows_.emplace(device.text, size()).second) {
        return Bad(device.offset, "column " + device.text + " is there twice");
      }
      if (IsCard(device.text, d_.card)) {
        if (m_.cards++ != size()) return Bad(device.offset, "a card after NICs; cards come first");
      } else {
        m_.nic_names.push_back(device.text);
      }
      m_.devices.push_back(device.text);
    }
    if (m_.cards > kMaxCardsPerNode) {
      return Bad(out_.header, std::to_string(m_.cards) + " cards; a machine has at most " +
                                  std::to_string(kMaxCardsPerNode));
    }
    const std::size_t cells = m_.devices.size() * m_.devices.size();
    m_.tokens.resize(cells);
    m_.labels.resize(cells);
    offsets_.resize(cells);
    m_.cpus.resize(static_cast<std::size_t>(m_.cards));
    cpu_offsets_.resize(static_cast<std::size_t>(m_.cards));
    m_.numa.resize(static_cast<std::size_t>(m_.cards), -1);
    m_.numa_column = std::ranges::find(header_.columns, Heading::kNuma) != header_.columns.end();
    return {};
  }

  Status ReadRows() {
    std::set<int> seen;
    std::size_t at = LineAt(text_, out_.header).next;
    while (at < text_.size()) {
      const Line line = LineAt(text_, at);
      const std::vector<Piece> words = Words(line);
      if (!words.empty()) {
        const auto row = rows_.find(words.front().text);
        if (row == rows_.end()) {
          // After the matrix. But a row of a device that has no column belongs to it.
          const bool is_row = words.size() > 1 && IsDeviceName(words.front().text) &&
                              d_.read(words[1].text).has_value();
          if (!is_row) break;
          return Bad(line.start, "row " + Quoted(words.front().text) + " has no column");
        }
        if (HeaderOf(line, d_.card)) break;
        if (!seen.insert(row->second).second) {
          return Bad(words.front().offset, "row " + row->first + " is there twice");
        }
        const Status ok = ReadRow(line, words, row->second);
        if (!ok) return ok;
      }
      at = line.next;
    }
    out_.end = FindMatrix(text_, d_.card, at).value_or(text_.size());
    rows_end_ = at;
    for (int i = 0; i < size(); ++i) {
      if (!seen.contains(i)) {
        return Bad(at, "row " + Device(i) + " is missing; save the whole output of \"" +
                           std::string(d_.tool) + "\"");
      }
    }
    return {};
  }

  Status ReadRow(const Line& line, const std::vector<Piece>& words, int row) {
    std::vector<Piece> cells = line.tabs() ? Split(line, true) : words;
    if (cells.front().text.empty()) cells.erase(cells.begin());  // an indented row
    const std::size_t n = m_.devices.size();
    for (std::size_t i = 0; i < n; ++i) {
      const std::string where = "row " + Device(row) + ", column " + m_.devices[i];
      if (i + 1 >= cells.size() || cells[i + 1].text.empty()) {
        return Bad(i + 1 < cells.size() ? cells[i + 1].offset : line.start,
                   where + ": the cell is missing");
      }
      const Piece& cell = cells[i + 1];
      const auto label = d_.read(cell.text);
      if (!label) {
        return Bad(cell.offset, where + ": " + Quoted(cell.text) + " is not one of " +
                                    std::string(d_.words) + "; or a cell is missing before it");
      }
      const std::size_t at = m_.Cell(row, static_cast<int>(i));
      m_.tokens[at] = cell.text;
      m_.labels[at] = *label;
      offsets_[at] = cell.offset;
    }
    const std::vector<Piece> tail(cells.begin() + static_cast<std::ptrdiff_t>(n) + 1, cells.end());
    if (row >= m_.cards) {
      for (const Piece& cell : tail) {
        if (!cell.text.empty() && cell.text != "N/A") return TooMany(row, cell);
      }
      return {};
    }
    return line.tabs() ? TailOfCells(row, tail, line) : TailOfWords(row, tail, cells, line);
  }

  tl::unexpected<Error> TooMany(int row, const Piece& cell) const {
    return Bad(cell.offset,
               "row " + Device(row) + ": " + Quoted(cell.text) + " is a cell too many");
  }

  Status TailOfCells(int row, const std::vector<Piece>& tail, const Line& line) {
    std::size_t at = 0;
    for (const Heading heading : header_.columns) {
      // There are two tabs before the GPU's own NUMA node.
      if (heading == Heading::kOther && at + 1 < tail.size() && tail[at].text.empty()) ++at;
      const Piece cell = at < tail.size() ? tail[at] : Piece{"", line.start, 0};
      ++at;
      const Status ok = ReadAffinity(row, heading, cell);
      if (!ok) return ok;
    }
    for (; at < tail.size(); ++at) {
      if (!tail[at].text.empty()) return TooMany(row, tail[at]);
    }
    return {};
  }

  // Without tabs an empty cell is to be seen only by where the next one starts: the tabs became
  // blanks up to the next multiple of 8.
  Status TailOfWords(int row, std::vector<Piece> tail, const std::vector<Piece>& cells,
                     const Line& line) {
    std::size_t place = 0;
    for (std::size_t i = 0; i <= m_.devices.size(); ++i) {
      const std::size_t blank = cells[i].text == "X" ? 2 : 0;  // printed as " X "
      place += (cells[i].text.size() + blank) / 8 * 8 + 8;
    }
    const std::size_t columns = header_.columns.size();
    const bool cpu_first = columns > 0 && header_.columns.front() == Heading::kCpu;
    if (cpu_first && tail.size() + 1 == columns &&
        (tail.empty() || tail.front().place >= cells.front().place + place + 8)) {
      tail.insert(tail.begin(), Piece{"", line.start, 0});
    }
    if (tail.size() > columns) return TooMany(row, tail[columns]);
    if (tail.size() < columns) {
      return Bad(tail.empty() ? line.start : tail.front().offset,
                 "row " + Device(row) + " has " + std::to_string(tail.size()) + " of the " +
                     std::to_string(columns) + " cells after the matrix: have CPU and NUMA " +
                     "affinity run together? Save the output again, with its tabs");
    }
    for (std::size_t i = 0; i < columns; ++i) {
      const Status ok = ReadAffinity(row, header_.columns[i], tail[i]);
      if (!ok) return ok;
    }
    return {};
  }

  Status ReadAffinity(int row, Heading heading, const Piece& cell) {
    const auto card = static_cast<std::size_t>(row);
    const std::string where = "row " + Device(row) + ": ";
    if (heading == Heading::kCpu) {
      if (cell.text.empty() || cell.text == "N/A") return {};  // a container without these CPUs
      if (!ParseCpuList(cell.text)) {
        return Bad(cell.offset, where + Quoted(cell.text) + " is not a list of CPUs");
      }
      m_.cpus[card] = cell.text;
      cpu_offsets_[card] = cell.offset;
      return {};
    }
    if (cell.text == "N/A") return {};
    if (heading == Heading::kOther) {
      if (cell.text.empty() || ParseCpuList(cell.text)) return {};
      return Bad(cell.offset, where + Quoted(cell.text) + " is not a NUMA node");
    }
    if (const auto node = WholeNumber(cell.text, 0, kMaxNumaNode)) {
      m_.numa[card] = *node;
      return {};
    }
    if (cell.text.empty()) {
      return Bad(cell.offset, where +
                                  "the NUMA affinity is missing: have CPU and NUMA affinity run "
                                  "together? Save the output again");
    }
    if (!ParseCpuList(cell.text)) {
      return Bad(cell.offset, where + Quoted(cell.text) + " is not a NUMA node");
    }
    m_.warnings.push_back(Device(row) + " is near several NUMA nodes (" + cell.text +
                          "): its own is not known");
    return {};
  }

  Status CheckCells() {
    for (int i = 0; i < size(); ++i) {
      for (int j = 0; j < size(); ++j) {
        const std::size_t at = m_.Cell(i, j);
        const std::string where = "row " + Device(i) + ", column " + Device(j) + ": ";
        if ((m_.labels[at].relation == Relation::kSelf) != (i == j)) {
          return Bad(offsets_[at], where + Quoted(m_.tokens[at]) +
                                       (i == j ? " for a device and itself" : " for two devices"));
        }
        const std::string& mirror = m_.tokens[m_.Cell(j, i)];
        if (d_.symmetric && m_.tokens[at] != mirror) {
          return Bad(offsets_[at], where + Quoted(m_.tokens[at]) + ", but " + Quoted(mirror) +
                                       " the other way round; the matrix must be symmetric");
        }
      }
    }
    return {};
  }

  // Cards of one machine have the same CPUs, or others, or (where the NUMA node is not known) all
  // of them. Lists that overlap otherwise have a digit of the next column at their end.
  Status CheckCpus() {
    for (std::size_t i = 0; i < m_.cpus.size(); ++i) {
      for (std::size_t j = 0; j < i; ++j) {
        if (m_.cpus[i].empty() || m_.cpus[j].empty() || m_.cpus[i] == m_.cpus[j]) continue;
        const auto a = *ParseCpuList(m_.cpus[i]);
        const auto b = *ParseCpuList(m_.cpus[j]);
        const int shared = Shared(a, b);
        if (shared == 0 || shared == Shared(a, a) || shared == Shared(b, b)) continue;
        return Bad(cpu_offsets_[i], "the CPUs of " + m_.devices[i] + " (" + m_.cpus[i] +
                                        ") and of " + m_.devices[j] + " (" + m_.cpus[j] +
                                        ") overlap in part: have CPU and NUMA affinity run "
                                        "together? Save the output again");
      }
    }
    return {};
  }

  static int Shared(const CpuRanges& a, const CpuRanges& b) {
    int out = 0;
    for (const auto& x : a) {
      for (const auto& y : b) {
        out += std::max(0, std::min(x.second, y.second) - std::max(x.first, y.first) + 1);
      }
    }
    return out;
  }

  // "  NIC0: mlx5_0" below the matrix.
  void ReadLegend() {
    for (std::size_t at = rows_end_; at < out_.end;) {
      const Line line = LineAt(text_, at);
      const std::vector<Piece> words = Words(line);
      at = line.next;
      if (words.size() != 2 || !words[0].text.ends_with(':')) continue;
      const auto row = rows_.find(words[0].text.substr(0, words[0].text.size() - 1));
      if (row == rows_.end() || row->second < m_.cards || !IsDeviceName(words[1].text)) continue;
      m_.nic_names[static_cast<std::size_t>(row->second - m_.cards)] = words[1].text;
    }
  }

  std::string_view text_;
  const std::string& name_;
  const Dialect& d_;
  Header header_;
  MatrixInText out_;
  LabelMatrix& m_ = out_.matrix;
  std::map<std::string, int> rows_;
  std::vector<std::size_t> offsets_;  // of each cell
  std::vector<std::size_t> cpu_offsets_;
  std::size_t rows_end_ = 0;
};

std::optional<Label> ReadSmiLabel(std::string_view word) {
  if (word == "X") return Label{Relation::kSelf};
  if (word == "PIX") return Label{Relation::kPix};
  if (word == "PXB") return Label{Relation::kPxb};
  if (word == "PHB") return Label{Relation::kPhb};
  if (word == "NODE") return Label{Relation::kNode};
  if (word == "SYS") return Label{Relation::kSys};
  if (!word.starts_with("NV")) return std::nullopt;
  const auto links = WholeNumber(word.substr(2), 1, kMaxLinksOfBundle);
  if (!links) return std::nullopt;
  return Label{Relation::kFabric, *links};
}

std::optional<Label> ReadP2pWord(std::string_view word) {
  if (word == "X") return Label{Relation::kSelf};
  for (const std::string_view known : {"OK", "CNS", "GNS", "TNS", "NS", "DR", "U"}) {
    if (word == known) return Label{};
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::size_t> FindMatrix(std::string_view text, std::string_view card,
                                      std::size_t from) {
  for (std::size_t at = from; at < text.size();) {
    const Line line = LineAt(text, at);
    if (line.clean.find(card) != std::string::npos && HeaderOf(line, card)) return at;
    at = line.next;
  }
  return std::nullopt;
}

Result<MatrixInText> ReadMatrix(std::string_view text, const std::string& name,
                                const Dialect& dialect, std::size_t from) {
  return Reader(text, name, dialect).Read(from);
}

const Dialect& SmiDialect() {
  static const Dialect kDialect{.vendor = "NVIDIA",
                                .fabric = "NVLink",
                                .card = "GPU",
                                .words = "X PIX PXB PHB NODE SYS NV1 NV2 ...",
                                .read = &ReadSmiLabel,
                                .tool = "nvidia-smi topo -m"};
  return kDialect;
}

Result<MachineGraph> ParseSmiTopo(std::string_view text, const std::string& name,
                                  const MatrixOptions& options) {
  const auto found = ReadMatrix(text, name, SmiDialect());
  if (!found) return tl::unexpected(found.error());
  return GraphFromLabels(found->matrix, name, options);
}

Result<P2pMatrix> ParseSmiP2p(std::string_view text, const std::string& name, std::size_t from) {
  static const Dialect kDialect{.vendor = "NVIDIA",
                                .fabric = "",
                                .card = "GPU",
                                .words = "X OK CNS GNS TNS NS DR U",
                                .read = &ReadP2pWord,
                                .symmetric = false,
                                .tool = "nvidia-smi topo -p2p r"};
  auto found = ReadMatrix(text, name, kDialect, from);
  if (!found) return tl::unexpected(found.error());
  return P2pMatrix{std::move(found->matrix.devices), std::move(found->matrix.tokens)};
}

Status ApplyP2p(MachineGraph* graph, const P2pMatrix& matrix, const std::string& where) {
  const auto n = static_cast<std::size_t>(graph->cards());
  bool same = matrix.devices.size() == n && matrix.tokens.size() == n * n;
  for (std::size_t i = 0; same && i < n; ++i) same = matrix.devices[i] == graph->vertices[i].name;
  if (!same) {
    return Fail(where, "the P2P matrix is of " + std::to_string(matrix.devices.size()) +
                           " other cards than the " + std::to_string(n) + " of the machine");
  }
  if (graph->p2p.empty()) graph->p2p.resize(n * n, P2p::kUnknown);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      P2p& cell = graph->p2p[i * n + j];
      if (i == j) cell = P2p::kYes;
      if (i == j || cell == P2p::kNo) continue;
      const std::string& there = matrix.tokens[i * n + j];
      const std::string& back = matrix.tokens[j * n + i];
      const bool denied = (there != "OK" && there != "U") || (back != "OK" && back != "U");
      if (denied) {
        cell = P2p::kNo;
      } else if (there == "OK" && back == "OK") {
        cell = P2p::kYes;
      }
    }
  }
  std::erase(graph->warnings, kP2pUnknown);
  return {};
}

}  // namespace basalt::topology
