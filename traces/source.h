// What the importers of foreign traces share: their input files as texts, a table of rows with
// cells read as the canonical trace wants them, and the rule that divides a job's total over its
// nodes. Internal to the importers.
//
// A source says "unknown" by an empty cell or by one of the words None, NaN, nan, NULL and null.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "traces/csv.h"
#include "traces/diagnostics.h"
#include "traces/limits.h"
#include "traces/trace.h"

namespace basalt::trace {

struct SourceText {
  std::string name;  // for messages
  std::string text;
};
// By the name of the option that gave it, without its dashes: "nodes", "jobs", ...
using SourceTexts = std::map<std::string, SourceText, std::less<>>;

// Null when it was not given.
const SourceText* FindText(const SourceTexts& texts, std::string_view option);

bool IsUnknown(std::string_view cell);

// "3 jobs ...": the count before a note, with the right number of the noun.
std::string CountOf(std::size_t n, std::string_view one, std::string_view many);

// One table of a source: its rows one after the other, its cells converted. A cell that is wrong is
// reported with its place and what to do; what it would have set stays as it was.
class SourceTable {
 public:
  // `header` false: the file has none and the columns are all there, in this order.
  SourceTable(const SourceText& source, std::span<const CsvColumn> columns,
              Diagnostics* diagnostics, bool header = true);

  // Moves on; false at the end. `rows` names them for the message when there are none.
  bool Next(std::string_view rows);

  std::string_view Cell(std::size_t column) const { return reader_.Field(column); }
  bool Has(std::size_t column) const { return reader_.Has(column); }
  bool Unknown(std::size_t column) const { return IsUnknown(Cell(column)); }
  void Report(std::size_t column, std::string message) { reader_.Report(column, message); }
  std::size_t line() const { return reader_.line(); }

  // A name that must be there, and one that may be unknown, which is then empty. At most 4096
  // bytes.
  std::string Name(std::size_t column);
  std::string Word(std::size_t column);
  // A name that no earlier row of this table has in this column.
  std::string UniqueName(std::size_t column);

  // A number times `factor`, within low..high (of the product). The first must be there, the second
  // may be unknown, which leaves *value. False: reported. Where digits were lost, rounded() counts.
  bool Number(std::size_t column, std::int64_t factor, std::int64_t low, std::int64_t high,
              std::int64_t* value);
  bool NumberOr(std::size_t column, std::int64_t factor, std::int64_t low, std::int64_t high,
                std::int64_t* value);
  template <class Integer>
  bool NumberOr(std::size_t column, std::int64_t factor, std::int64_t low, std::int64_t high,
                Integer* value) {
    std::int64_t wide = *value;
    if (!NumberOr(column, factor, low, high, &wide)) return false;
    *value = static_cast<Integer>(wide);
    return true;
  }
  // Seconds from 0, as microseconds; may be unknown.
  bool Time(std::size_t column, std::int64_t* microseconds);
  // "2017-10-09 07:01:55", as microseconds of that clock, and an instant with a zone, as
  // microseconds since 1970 UTC; may be unknown.
  bool WallClock(std::size_t column, std::int64_t* microseconds);
  bool Instant(std::size_t column, std::int64_t* microseconds);
  // Reports it at `column` when the end is before the start, both known.
  bool Ordered(std::size_t column, std::int64_t start_us, std::int64_t end_us);

  std::size_t rounded() const { return rounded_; }

 private:
  std::string Bounded(std::size_t column, std::string_view text);

  std::string name_;
  std::span<const CsvColumn> columns_;
  Diagnostics* diagnostics_;
  CsvReader reader_;
  bool open_ = false;
  std::size_t rows_ = 0, faults_ = 0, rounded_ = 0;
  std::unordered_map<std::string, std::size_t> lines_;
};

// Asks for `milli` thousandths of GPUs in one replica: a part of one GPU, or whole ones; 1.5 GPUs
// are two of 750. False when it is not exact (and then rounded up) or more than kMaxCards.
bool AskForMilliGpus(std::int64_t milli, Task* task);

// Appends the job's tasks when only totals and a number of nodes are known: as many replicas as
// nodes, all or nothing, with as many GPUs each as can be; where the GPUs do not divide, the first
// ones have one more (task "worker") than the others ("worker-1"), so that the sum is the total.
// No number of nodes (0): one replica of up to 8 GPUs, or several (philly.h). CPU and memory are
// divided too, memory_mib is of one replica. `split` is assumed where something had to be divided.
// False: some replica would have more than kMaxCards.
bool DivideOverNodes(const Job& job, std::int64_t gpus, std::int64_t cpu_milli,
                     std::int64_t memory_mib, std::int64_t nodes, std::vector<Task>* tasks);

// Moves all times so that the earliest submission is 0 and returns where it was; 0 when no job has
// one.
std::int64_t StartAtFirstSubmission(Trace* trace);

// A JSON object of text members, sorted; empty when there are none.
std::string JsonOf(const std::map<std::string, std::string>& members);

// Reads the canonical nodes.csv that stands for the cluster of a source without one.
void ReadCanonicalNodes(const SourceTexts& texts, Trace* trace, Diagnostics* diagnostics);

}  // namespace basalt::trace
