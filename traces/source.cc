#include "traces/source.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "traces/canonical.h"
#include "traces/decimal.h"
#include "traces/philly.h"
#include "traces/text.h"
#include "traces/wall_clock.h"

namespace basalt::trace {
namespace {

constexpr std::int64_t kSecond = 1'000'000;  // microseconds

}  // namespace

const SourceText* FindText(const SourceTexts& texts, std::string_view option) {
  const auto found = texts.find(option);
  return found == texts.end() ? nullptr : &found->second;
}

bool IsUnknown(std::string_view cell) {
  constexpr std::array<std::string_view, 6> kWords = {"", "None", "NaN", "nan", "NULL", "null"};
  return std::ranges::find(kWords, cell) != kWords.end();
}

std::string CountOf(std::size_t n, std::string_view one, std::string_view many) {
  return std::to_string(n) + ' ' + std::string(n == 1 ? one : many);
}

SourceTable::SourceTable(const SourceText& source, std::span<const CsvColumn> columns,
                         Diagnostics* diagnostics, bool header)
    : name_(source.name),
      columns_(columns),
      diagnostics_(diagnostics),
      reader_(source.name, source.text, columns, diagnostics),
      faults_(diagnostics->total) {
  open_ = header ? reader_.ReadHeader() : reader_.ReadWithoutHeader();
}

bool SourceTable::Next(std::string_view rows) {
  if (!open_) return false;
  if (reader_.Next()) {
    ++rows_;
    return true;
  }
  open_ = false;
  if (rows_ == 0 && diagnostics_->total == faults_) {
    diagnostics_->Add(At(name_, 1, 1), "no " + std::string(rows) + ": the file has no rows");
  }
  return false;
}

std::string SourceTable::Bounded(std::size_t column, std::string_view text) {
  if (text.size() <= kMaxNameBytes) return std::string(text);
  Report(column, std::string(columns_[column].name) + " is longer than 4096 bytes; shorten it");
  return {};
}

std::string SourceTable::Name(std::size_t column) {
  if (Cell(column).empty()) {
    Report(column, std::string(columns_[column].name) + " is empty; every row needs one");
  }
  return Bounded(column, Cell(column));
}

std::string SourceTable::Word(std::size_t column) {
  return Unknown(column) ? std::string() : Bounded(column, Cell(column));
}

std::string SourceTable::UniqueName(std::size_t column) {
  std::string name = Name(column);
  if (name.empty()) return name;
  const auto [it, added] = lines_.emplace(name, line());
  if (!added) {
    Report(column, std::string(columns_[column].name) + ' ' + Quoted(name) +
                       " is already on line " + std::to_string(it->second) +
                       "; remove one of the two rows");
  }
  return name;
}

bool SourceTable::Number(std::size_t column, std::int64_t factor, std::int64_t low,
                         std::int64_t high, std::int64_t* value) {
  const std::string_view cell = Cell(column);
  Decimal parsed;
  const DecimalFault fault = ParseDecimal(cell, factor, &parsed);
  if (fault == DecimalFault::kNone && parsed.value >= low && parsed.value <= high) [[likely]] {
    *value = parsed.value;
    if (parsed.rounded) ++rounded_;
    return true;
  }
  std::string what = std::string(columns_[column].name) + ' ';
  if (fault == DecimalFault::kNotANumber) {
    what += cell.empty() ? "is empty; write a number"
                         : Quoted(cell) + " is not a number; write one, such as 12.5";
  } else {
    what += Quoted(cell) + " is out of range; the range is " + std::to_string(low / factor) + ".." +
            std::to_string(high / factor);
  }
  Report(column, std::move(what));
  return false;
}

bool SourceTable::NumberOr(std::size_t column, std::int64_t factor, std::int64_t low,
                           std::int64_t high, std::int64_t* value) {
  return Unknown(column) || Number(column, factor, low, high, value);
}

bool SourceTable::Time(std::size_t column, std::int64_t* microseconds) {
  return NumberOr(column, kSecond, 0, kMaxTimeUs, microseconds);
}

bool SourceTable::WallClock(std::size_t column, std::int64_t* microseconds) {
  if (Unknown(column)) return true;
  std::int64_t seconds = 0;
  if (ParseWallClock(Cell(column), &seconds)) {
    *microseconds = seconds * kSecond;  // years have four digits: far inside the range
    return true;
  }
  Report(column, std::string(columns_[column].name) + ' ' + Quoted(Cell(column)) +
                     " is not a date and time; write 2017-10-09 07:01:55, or nothing");
  return false;
}

bool SourceTable::Instant(std::size_t column, std::int64_t* microseconds) {
  if (Unknown(column) || ParseInstant(Cell(column), microseconds)) return true;
  Report(column, std::string(columns_[column].name) + ' ' + Quoted(Cell(column)) +
                     " is not a date and time with a zone; write 2023-03-01 00:18:22+08:00, or "
                     "nothing");
  return false;
}

bool SourceTable::Ordered(std::size_t column, std::int64_t start_us, std::int64_t end_us) {
  if (start_us == kUnknownTime || end_us == kUnknownTime || end_us >= start_us) return true;
  Report(column, std::string(columns_[column].name) + ' ' + Quoted(Cell(column)) +
                     " is before the start; correct the row or remove it");
  return false;
}

bool AskForMilliGpus(std::int64_t milli, Task* task) {
  if (milli == 0) {
    task->gpu_num = task->gpu_milli = 0;
    return true;
  }
  const std::int64_t cards = (milli + kWholeCard - 1) / kWholeCard;
  if (cards > kMaxCards) return false;
  task->gpu_num = static_cast<std::int32_t>(cards);
  task->gpu_milli = static_cast<MilliGpu>((milli + cards - 1) / cards);
  return milli % cards == 0;
}

bool DivideOverNodes(const Job& job, std::int64_t gpus, std::int64_t cpu_milli,
                     std::int64_t memory_mib, std::int64_t nodes, std::vector<Task>* tasks) {
  Task task;
  task.job_id = job.id;
  task.task = "worker";
  task.memory_mib = memory_mib;
  if (nodes == 0) {
    if (gpus > 0) {
      AskForGpus(gpus, &task);
    } else {
      task.gang_min = 1;
    }
    nodes = task.replicas;
    task.cpu_milli = cpu_milli / nodes;
    if (nodes > 1) task.split = "assumed";
    tasks->push_back(std::move(task));
    return true;
  }
  const std::int64_t each = gpus / nodes, more = gpus % nodes;
  if (each + (more > 0 ? 1 : 0) > kMaxCards) return false;
  const bool exact = more == 0 && cpu_milli % nodes == 0;
  if (nodes > 1) task.split = exact ? "exact" : "assumed";
  task.cpu_milli = cpu_milli / nodes;
  const auto add = [&](std::int64_t replicas, std::int64_t cards, const char* name) {
    Task part = task;
    part.task = name;
    part.replicas = part.gang_min = static_cast<std::int32_t>(replicas);
    part.gpu_num = static_cast<std::int32_t>(cards);
    part.gpu_milli = cards > 0 ? kWholeCard : 0;
    tasks->push_back(std::move(part));
  };
  if (more > 0) {
    add(more, each + 1, "worker");
    add(nodes - more, each, "worker-1");
  } else {
    add(nodes, each, "worker");
  }
  return true;
}

std::int64_t StartAtFirstSubmission(Trace* trace) {
  std::int64_t first = std::numeric_limits<std::int64_t>::max();
  for (const Job& job : trace->jobs) {
    if (job.submit_us != kUnknownTime) first = std::min(first, job.submit_us);
  }
  if (first == std::numeric_limits<std::int64_t>::max()) return 0;
  const auto move = [&](std::int64_t& us) {
    if (us != kUnknownTime) us -= first;
  };
  for (Job& job : trace->jobs) {
    move(job.submit_us);
    move(job.start_us);
    move(job.end_us);
  }
  for (Placement& placement : trace->placements) {
    move(placement.start_us);
    move(placement.end_us);
  }
  for (Capacity& capacity : trace->capacity) move(capacity.time_us);
  for (Usage& usage : trace->usage) move(usage.time_us);
  return first;
}

std::string JsonOf(const std::map<std::string, std::string>& members) {
  return members.empty() ? std::string() : nlohmann::json(members).dump();
}

void ReadCanonicalNodes(const SourceTexts& texts, Trace* trace, Diagnostics* diagnostics) {
  if (const SourceText* nodes = FindText(texts, "nodes")) {
    trace->nodes = ParseNodes(nodes->name, nodes->text, diagnostics);
  } else {
    trace->manifest.notes.emplace_back(
        "the source has no list of machines and none was given: this trace is a workload alone");
  }
}

}  // namespace basalt::trace
