#include "traces/canonical.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <functional>
#include <limits>
#include <system_error>
#include <utility>

#include "traces/check.h"
#include "traces/csv.h"
#include "traces/fields.h"
#include "traces/text.h"

namespace basalt::trace {
namespace {

namespace fs = std::filesystem;

struct ColumnLister {
  std::vector<CsvColumn> columns;
  void Add(std::string_view name, Cell cell) { columns.push_back({name, cell == Cell::kMust}); }
  void Text(std::string_view name, const std::string&, Cell cell = Cell::kUnknown) {
    Add(name, cell);
  }
  template <class Integer>
  void Number(std::string_view name, const Integer&, Cell cell) {
    Add(name, cell);
  }
  void Time(std::string_view name, const std::int64_t&) { Add(name, Cell::kUnknown); }
  void Share(std::string_view name, const std::int32_t&) { Add(name, Cell::kUnknown); }
  void Millionths(std::string_view name, const std::int64_t&) { Add(name, Cell::kMust); }
};

template <class Row>
const std::vector<CsvColumn>& ColumnsOf() {
  static const std::vector<CsvColumn> columns = [] {
    ColumnLister lister;
    const Row row;
    VisitFields(row, lister);
    return lister.columns;
  }();
  return columns;
}

// Fills one row from the reader's record; a cell that is wrong is reported and leaves the default.
struct RowReader {
  CsvReader& reader;
  std::size_t column = 0;
  bool good = true;

  void Text(std::string_view, std::string& value, Cell = Cell::kUnknown) {
    value.assign(reader.Field(column++));
  }
  template <class Integer>
  void Number(std::string_view, Integer& value, Cell cell) {
    const std::size_t c = column++;
    if (cell != Cell::kMust && reader.Field(c).empty()) return;
    std::int64_t parsed = 0;
    if (reader.Integer(c, 0, std::numeric_limits<Integer>::max(), &parsed)) {
      value = static_cast<Integer>(parsed);
    } else {
      good = false;
    }
  }
  void Time(std::string_view, std::int64_t& value) {
    const std::size_t c = column++;
    if (!reader.Field(c).empty()) good &= reader.Seconds(c, /*negative=*/true, &value);
  }
  void Share(std::string_view, std::int32_t& thousandths) {
    const std::size_t c = column++;
    if (!reader.Field(c).empty()) good &= reader.Share(c, &thousandths);
  }
  void Millionths(std::string_view, std::int64_t& value) {
    good &= reader.Millionths(column++, &value);
  }
};

struct RowWriter {
  std::string& out;
  bool first = true;

  void Separate() {
    if (!first) out += ',';
    first = false;
  }
  void Text(std::string_view, const std::string& value, Cell = Cell::kUnknown) {
    Separate();
    AppendCsvField(&out, value);
  }
  template <class Integer>
  void Number(std::string_view, const Integer& value, Cell cell) {
    Separate();
    if (cell != Cell::kUnknown || value != -1) out += std::to_string(value);
  }
  void Time(std::string_view, const std::int64_t& value) {
    Separate();
    AppendSeconds(&out, value);
  }
  void Share(std::string_view, const std::int32_t& thousandths) {
    Separate();
    // A second is a million; so is a whole.
    if (thousandths >= 0) AppendSeconds(&out, std::int64_t{thousandths} * 1000);
  }
  void Millionths(std::string_view, const std::int64_t& value) {
    Separate();
    AppendSeconds(&out, value);
  }
};

// `key` is the column that a rule between rows complains about.
template <class Row>
std::vector<Row> ParseRows(const std::string& name, std::string_view text, Diagnostics* diagnostics,
                           std::vector<RowPlace>* places, std::size_t key,
                           void (*check)(const Row&, const FieldReport&)) {
  const std::vector<CsvColumn>& columns = ColumnsOf<Row>();
  CsvReader reader(name, text, columns, diagnostics);
  std::vector<Row> rows;
  if (!reader.ReadHeader()) return rows;
  const FieldReport report = [&](std::string_view field, std::string message) {
    const auto found = std::ranges::find(columns, field, &CsvColumn::name);
    reader.Report(static_cast<std::size_t>(found - columns.begin()),
                  std::string(field) + ' ' + std::move(message));
  };
  while (reader.Next()) {
    RowReader row_reader{reader};
    Row& row = rows.emplace_back();
    VisitFields(row, row_reader);
    if (places != nullptr) places->push_back({reader.line(), reader.ColumnOf(key)});
    if (row_reader.good) check(row, report);
  }
  return rows;
}

template <class Row>
std::string FormatRows(const std::vector<Row>& rows) {
  std::string out;
  for (const CsvColumn& column : ColumnsOf<Row>()) {
    if (!out.empty()) out += ',';
    out += column.name;
  }
  out += '\n';
  for (const Row& row : rows) {
    RowWriter writer{out};
    VisitFields(row, writer);
    out += '\n';
  }
  return out;
}

// The one file of a table in the directory; empty when there is none or there are two.
std::string TableFile(const fs::path& directory, const std::string& table, bool required,
                      Diagnostics* diagnostics) {
  const fs::path plain = directory / (table + ".csv");
  const fs::path packed = directory / (table + ".csv.gz");
  std::error_code ignored;
  const bool has_plain = fs::exists(plain, ignored), has_packed = fs::exists(packed, ignored);
  if (has_plain && has_packed) {
    diagnostics->Add(packed.string(),
                     "stands beside " + plain.filename().string() + "; remove one of the two");
    return {};
  }
  if (!has_plain && !has_packed) {
    if (!required) return {};
    diagnostics->Add(plain.string(),
                     "there is no such file; a trace has manifest.json, nodes.csv, "
                     "jobs.csv and tasks.csv");
    return {};
  }
  return (has_plain ? plain : packed).string();
}

// Tables under names that the format does not know are spelling mistakes, or data that would be
// ignored without a word.
void CheckFileNames(const fs::path& directory, Diagnostics* diagnostics) {
  constexpr std::array<std::string_view, 7> kTables = {"nodes.csv",      "jobs.csv",  "tasks.csv",
                                                       "placements.csv", "usage.csv", "queues.csv",
                                                       "capacity.csv"};
  std::error_code error;
  std::vector<std::string> strangers;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    std::string name = it->path().filename().string();
    if (name.ends_with(".gz")) name.resize(name.size() - 3);
    if (name.ends_with(".csv") && std::ranges::find(kTables, name) == kTables.end()) {
      strangers.push_back(it->path().filename().string());
    }
  }
  std::ranges::sort(strangers);
  for (const std::string& name : strangers) {
    diagnostics->Add((directory / name).string(),
                     "is not a table of " + std::string(kTraceFormat) +
                         DidYouMean(name, kTables, "; move it elsewhere"));
  }
}

template <class Row>
std::vector<Row> ReadTable(const std::string& path, Diagnostics* diagnostics,
                           std::vector<RowPlace>* places,
                           std::vector<Row> (*parse)(const std::string&, std::string_view,
                                                     Diagnostics*, std::vector<RowPlace>*)) {
  if (path.empty()) return {};
  const Result<std::string> text = ReadText(path);
  if (!text) {
    diagnostics->Add(text.error());
    return {};
  }
  return parse(path, *text, diagnostics, places);
}

}  // namespace

std::vector<Node> ParseNodes(const std::string& name, std::string_view text,
                             Diagnostics* diagnostics, std::vector<RowPlace>* places) {
  return ParseRows<Node>(name, text, diagnostics, places, 0, CheckNode);
}

std::vector<Job> ParseJobs(const std::string& name, std::string_view text, Diagnostics* diagnostics,
                           std::vector<RowPlace>* places) {
  return ParseRows<Job>(name, text, diagnostics, places, 0, CheckJob);
}

std::vector<Task> ParseTasks(const std::string& name, std::string_view text,
                             Diagnostics* diagnostics, std::vector<RowPlace>* places) {
  return ParseRows<Task>(name, text, diagnostics, places, 0, CheckTask);
}

std::vector<Placement> ParsePlacements(const std::string& name, std::string_view text,
                                       Diagnostics* diagnostics, std::vector<RowPlace>* places) {
  return ParseRows<Placement>(name, text, diagnostics, places, 0, CheckPlacement);
}

std::vector<Usage> ParseUsage(const std::string& name, std::string_view text,
                              Diagnostics* diagnostics, std::vector<RowPlace>* places) {
  return ParseRows<Usage>(name, text, diagnostics, places, 0, CheckUsage);
}

std::vector<Queue> ParseQueues(const std::string& name, std::string_view text,
                               Diagnostics* diagnostics, std::vector<RowPlace>* places) {
  return ParseRows<Queue>(name, text, diagnostics, places, 0, CheckQueue);
}

std::vector<Capacity> ParseCapacity(const std::string& name, std::string_view text,
                                    Diagnostics* diagnostics, std::vector<RowPlace>* places) {
  return ParseRows<Capacity>(name, text, diagnostics, places, 1, CheckCapacity);
}

std::string FormatNodes(const std::vector<Node>& nodes) { return FormatRows(nodes); }
std::string FormatJobs(const std::vector<Job>& jobs) { return FormatRows(jobs); }
std::string FormatTasks(const std::vector<Task>& tasks) { return FormatRows(tasks); }
std::string FormatPlacements(const std::vector<Placement>& placements) {
  return FormatRows(placements);
}
std::string FormatUsage(const std::vector<Usage>& usage) { return FormatRows(usage); }
std::string FormatQueues(const std::vector<Queue>& queues) { return FormatRows(queues); }
std::string FormatCapacity(const std::vector<Capacity>& capacity) { return FormatRows(capacity); }

Counts CountRows(const Trace& trace) {
  return {{trace.nodes.size(), trace.jobs.size(), trace.tasks.size(), trace.placements.size(),
           trace.usage.size(), trace.queues.size(), trace.capacity.size()}};
}

Trace ReadTrace(const std::string& directory, Diagnostics* diagnostics) {
  Trace trace;
  const fs::path root(directory);
  std::error_code error;
  if (!fs::is_directory(root, error)) {
    diagnostics->Add(directory, fs::exists(root, error)
                                    ? "is not a directory; a trace is a directory with "
                                      "manifest.json, nodes.csv, jobs.csv and tasks.csv"
                                    : "there is no such directory");
    return trace;
  }
  const std::string manifest_path = (root / "manifest.json").string();
  Counts counts;
  const TextLimits manifest_limits{kMaxManifestBytes, kMaxManifestBytes};
  if (const Result<std::string> text = ReadText(manifest_path, nullptr, manifest_limits)) {
    trace.manifest = ParseManifest(manifest_path, *text, diagnostics, &counts);
  } else {
    diagnostics->Add(text.error());
  }
  CheckFileNames(root, diagnostics);
  std::array<std::string, kTableNames.size()> paths;
  for (std::size_t t = 0; t < paths.size(); ++t) {
    paths[t] = TableFile(root, std::string(kTableNames[t]), t < kRequiredTables, diagnostics);
  }
  std::array<std::vector<RowPlace>, kTableNames.size()> places;
  const auto read = [&]<class Row>(Table table, std::vector<Row>* rows, auto parse) {
    const auto t = static_cast<std::size_t>(table);
    *rows = ReadTable<Row>(paths[t], diagnostics, &places[t], parse);
  };
  read(Table::kNodes, &trace.nodes, ParseNodes);
  read(Table::kJobs, &trace.jobs, ParseJobs);
  read(Table::kTasks, &trace.tasks, ParseTasks);
  read(Table::kPlacements, &trace.placements, ParsePlacements);
  read(Table::kUsage, &trace.usage, ParseUsage);
  read(Table::kQueues, &trace.queues, ParseQueues);
  read(Table::kCapacity, &trace.capacity, ParseCapacity);
  // A row that was skipped would be missed here again under another name.
  if (!diagnostics->ok()) return trace;

  const Counts found = CountRows(trace);
  for (std::size_t t = 0; t < kTableNames.size(); ++t) {
    const std::size_t is = found.rows[t];
    if (counts.rows[t] == is) continue;
    diagnostics->Add(manifest_path, "counts." + std::string(kTableNames[t]) + " is " +
                                        std::to_string(counts.rows[t]) + " but the file has " +
                                        std::to_string(is) + (is == 1 ? " row" : " rows") +
                                        "; was the file cut or edited?");
  }
  CheckReferences(
      trace,
      [&](Table table, std::size_t row) {
        return "line " + std::to_string(places[static_cast<std::size_t>(table)][row].line);
      },
      [&](Table table, std::size_t row, std::string_view field, std::string message) {
        const auto t = static_cast<std::size_t>(table);
        if (field.empty()) {
          diagnostics->Add(directory, std::move(message));
        } else {
          diagnostics->Add(At(paths[t], places[t][row].line, places[t][row].column),
                           std::move(message));
        }
      });
  return trace;
}

Result<Trace> ReadTrace(const std::string& directory) {
  Diagnostics diagnostics;
  Trace trace = ReadTrace(directory, &diagnostics);
  if (!diagnostics.ok()) return tl::unexpected(diagnostics.ToError());
  return trace;
}

}  // namespace basalt::trace
