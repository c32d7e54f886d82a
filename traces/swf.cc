#include "traces/swf.h"

#include <array>
#include <unordered_map>
#include <utility>

#include "traces/decimal.h"
#include "traces/text.h"
#include "traces/wall_clock.h"

namespace basalt::trace {
namespace {

constexpr std::size_t kFields = 18;
constexpr std::int64_t kSecond = 1'000'000;  // microseconds
constexpr std::int64_t kThousandth = 1000;   // fields are kept in thousandths of their unit
constexpr std::int64_t kUnset = -kThousandth;

enum Field : std::size_t {
  kJob,
  kSubmit,
  kWait,
  kRunTime,
  kProcessors,
  kCpuUsed,
  kMemoryUsed,
  kProcessorsAsked,
  kTimeAsked,
  kMemoryAsked,
  kStatus,
  kUser,
  kGroup,
  kExecutable,
  kQueue,
  kPartition,
  kPreceding,
  kThink
};
constexpr std::array<std::string_view, kFields> kNames = {"job number",
                                                          "submit time",
                                                          "wait time",
                                                          "run time",
                                                          "number of processors",
                                                          "CPU time used",
                                                          "memory used",
                                                          "processors asked",
                                                          "time asked",
                                                          "memory asked",
                                                          "status",
                                                          "user",
                                                          "group",
                                                          "executable",
                                                          "queue",
                                                          "partition",
                                                          "preceding job",
                                                          "think time"};

struct Line {
  std::array<std::int64_t, kFields> value{};  // thousandths
  std::array<std::string_view, kFields> text;

  bool Known(Field field) const { return value[field] >= 0; }
  std::int64_t Whole(Field field) const { return value[field] / kThousandth; }
};

constexpr std::string_view kBlanks = " \t\r";

class Swf {
 public:
  Swf(const SourceText& source, Diagnostics* diagnostics)
      : source_(source), diagnostics_(diagnostics) {}

  Trace Read();

 private:
  void Comment(std::string_view text);
  bool ReadLine(std::string_view text, Line* line);
  void AddJob(const Line& line);
  void Report(Field field, const Line& line, std::string_view what) {
    diagnostics_->Add(
        At(source_.name, number_),
        std::string(kNames[field]) + ' ' + Quoted(line.text[field]) + ' ' + std::string(what));
  }

  const SourceText& source_;
  Diagnostics* diagnostics_;
  std::size_t number_ = 0;  // of the line
  Trace trace_;
  std::string computer_, installation_;
  std::unordered_map<std::int64_t, std::size_t> lines_;  // job number -> line
  std::size_t parts_ = 0, no_processors_ = 0;
};

// "; Computer: IBM SP2" and the like; what is not known is a remark.
void Swf::Comment(std::string_view text) {
  text.remove_prefix(text.find_first_not_of("; \t\r") == std::string_view::npos
                         ? text.size()
                         : text.find_first_not_of("; \t\r"));
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos) return;
  const std::string_view key = text.substr(0, colon);
  std::string_view value = text.substr(colon + 1);
  const std::size_t begin = value.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return;
  value = value.substr(begin, value.find_last_not_of(kBlanks) - begin + 1);
  if (value.size() > kMaxNameBytes) return;
  if (key == "Computer") computer_ = value;
  if (key == "Installation") installation_ = value;
  if (key != "UnixStartTime") return;
  Decimal start;
  constexpr std::int64_t kYear10000 = 253'402'300'800;  // seconds since 1970
  if (ParseDecimal(value, 1, &start) == DecimalFault::kNone && start.value >= 0 &&
      start.value < kYear10000) {
    if (start.value > 0) trace_.manifest.time_zero = FormatInstant(start.value * kSecond);
  } else {
    diagnostics_->Add(At(source_.name, number_), "UnixStartTime " + Quoted(value) +
                                                     " is not a number of seconds since 1970; "
                                                     "correct it or remove the line");
  }
}

bool Swf::ReadLine(std::string_view text, Line* line) {
  std::size_t fields = 0;
  for (std::size_t at = 0;; ++fields) {
    at = text.find_first_not_of(kBlanks, at);
    if (at == std::string_view::npos) break;
    const std::size_t end = std::min(text.find_first_of(kBlanks, at), text.size());
    if (fields < kFields) line->text[fields] = text.substr(at, end - at);
    at = end;
  }
  if (fields != kFields) {
    diagnostics_->Add(At(source_.name, number_),
                      std::to_string(fields) + " fields where a job has 18; write -1 for unknown");
    return false;
  }
  bool good = true;
  for (std::size_t i = 0; i < kFields; ++i) {
    Decimal parsed;
    const DecimalFault fault = ParseDecimal(line->text[i], kThousandth, &parsed);
    line->value[i] = parsed.value;
    if (fault == DecimalFault::kNone &&
        (parsed.value == kUnset || (parsed.value >= 0 && parsed.value <= kMaxAmount))) {
      continue;
    }
    Report(static_cast<Field>(i), *line,
           fault == DecimalFault::kNotANumber ? "is not a number; write one, or -1 for unknown"
                                              : "is out of range; write -1, or 0..1000000000");
    good = false;
  }
  return good;
}

void Swf::AddJob(const Line& line) {
  if (!line.Known(kJob) || line.Whole(kJob) == 0) {
    Report(kJob, line, "is not a job's; they count from 1");
    return;
  }
  const std::int64_t status = line.value[kStatus];
  // A job that was swapped out has a line for the whole of it, and these for its parts.
  if (status == 2 * kThousandth || status == 3 * kThousandth || status == 4 * kThousandth) {
    ++parts_;
    return;
  }
  const auto [known, added] = lines_.emplace(line.Whole(kJob), number_);
  if (!added) {
    Report(kJob, line,
           "is already on line " + std::to_string(known->second) + "; remove one of the two lines");
    return;
  }
  Job job;
  Task task;
  job.id = std::to_string(line.Whole(kJob));
  const auto name = [&](Field field, std::string* out) {
    if (line.Known(field)) *out = std::to_string(line.Whole(field));
  };
  name(kUser, &job.user);
  name(kQueue, &job.queue);
  name(kPreceding, &job.parent_id);
  const auto time = [&](Field field) { return line.value[field] * (kSecond / kThousandth); };
  if (line.Known(kSubmit)) job.submit_us = time(kSubmit);
  if (line.Known(kSubmit) && line.Known(kWait)) job.start_us = job.submit_us + time(kWait);
  if (line.Known(kRunTime)) job.duration_us = time(kRunTime);
  if (job.start_us != kUnknownTime && line.Known(kRunTime)) {
    job.end_us = job.start_us + job.duration_us;
  }
  if (line.Known(kTimeAsked)) job.walltime_limit_us = time(kTimeAsked);
  if (line.Known(kStatus)) job.status_raw = std::to_string(line.Whole(kStatus));
  if (status == 0) job.status = "failed";
  if (status == 1 * kThousandth) job.status = "completed";
  if (status == 5 * kThousandth) job.status = "cancelled";
  Field size = kProcessorsAsked;
  if (line.value[size] <= 0) size = kProcessors;
  std::int64_t processors = line.Whole(size);
  if (processors > kMaxReplicas) {
    Report(size, line, "is more than 1000000; correct it");
    return;
  }
  if (line.value[size] <= 0) {
    processors = 1;
    ++no_processors_;
  }
  job.cpu_total_milli = processors * 1000;
  task.job_id = job.id;
  task.task = "process";
  task.replicas = task.gang_min = static_cast<std::int32_t>(processors);
  task.cpu_milli = 1000;
  if (processors > 1) task.split = "assumed";
  if (line.Known(kMemoryAsked)) {
    task.memory_mib = (line.value[kMemoryAsked] + 1024 * kThousandth - 1) / (1024 * kThousandth);
  }
  std::map<std::string, std::string> extra;
  for (const auto& [field, key] :
       std::initializer_list<std::pair<Field, const char*>>{{kProcessors, "processors"},
                                                            {kCpuUsed, "cpu_used_s"},
                                                            {kMemoryUsed, "memory_used_kb"},
                                                            {kMemoryAsked, "memory_asked_kb"},
                                                            {kGroup, "group"},
                                                            {kExecutable, "executable"},
                                                            {kPartition, "partition"},
                                                            {kThink, "think_s"}}) {
    if (line.Known(field)) extra[key] = line.text[field];
  }
  job.extra = JsonOf(extra);
  trace_.jobs.push_back(std::move(job));
  trace_.tasks.push_back(std::move(task));
}

Trace Swf::Read() {
  std::string_view text = source_.text;
  if (!CheckText(source_.name, &text, diagnostics_)) return {};
  const std::size_t faults = diagnostics_->total;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view row = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number_;
    const std::size_t begin = row.find_first_not_of(kBlanks);
    if (begin == std::string_view::npos) continue;
    if (row[begin] == ';') {
      Comment(row);
    } else if (Line line; ReadLine(row, &line)) {
      AddJob(line);
    }
  }
  if (trace_.jobs.empty() && diagnostics_->total == faults) {
    diagnostics_->Add(At(source_.name, 1, 1), "no jobs: the file has no line of 18 numbers");
  }
  Manifest& manifest = trace_.manifest;
  manifest.source = "Standard Workload Format";
  if (!computer_.empty()) manifest.source += ": " + computer_;
  manifest.attribution = installation_;
  manifest.importer = "swf 1";
  manifest.notes = {
      "a processor is taken as one core and one replica, all or nothing; how many were on a node "
      "is "
      "not in the source; processors asked for count, those used where none are",
      "the format has no GPUs",
      "start is submit + wait, end is start + run time; memory is rounded up to MiB, as written in "
      "extra.memory_asked_kb",
      "what the header's comments say beyond the computer, the installation and the start time is "
      "not kept"};
  if (parts_ > 0) {
    manifest.notes.push_back(CountOf(parts_, "line", "lines") +
                             " with status 2, 3 or 4, a part of a job that has its own line, left "
                             "out");
  }
  if (no_processors_ > 0) {
    manifest.notes.push_back(CountOf(no_processors_, "job says", "jobs say") +
                             " no number of processors: 1 assumed");
  }
  return std::move(trace_);
}

}  // namespace

Trace ParseSwf(const SourceTexts& texts, Diagnostics* diagnostics) {
  const SourceText* source = FindText(texts, "jobs");
  if (source == nullptr) return {};
  Trace trace = Swf(*source, diagnostics).Read();
  ReadCanonicalNodes(texts, &trace, diagnostics);
  return trace;
}

}  // namespace basalt::trace
