#include "traces/scale.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_map>

#include "traces/limits.h"
#include "traces/text.h"

namespace basalt::trace {
namespace {

// GPU work is 10^18 us x 64 cards x 1000 x 10^6 replicas a row: too large for 64 bits.
__extension__ using Wide = __int128;

constexpr std::int64_t kMillion = 1'000'000;
constexpr double kMaxLoad = 100;

struct Offered {
  Wide work = 0;              // milli-GPU x us
  std::int64_t capacity = 0;  // milli-GPU
  std::int64_t first = 0;     // submission, us
  std::int64_t span = 0;      // to the last one, us, above 0
};

Result<Offered> Measure(const Trace& trace) {
  Offered out;
  for (const Node& node : trace.nodes) {
    if (node.available_from_us != kUnknownTime || node.available_until_us != kUnknownTime) {
      return Fail("node " + Quoted(node.id),
                  "is not there all the time; load is of a cluster "
                  "that stays the same");
    }
    out.capacity += std::int64_t{node.gpu_count} * node.gpu_milli;
  }
  if (out.capacity == 0) return Fail("nodes", "have no GPUs; load is a part of their capacity");

  std::int64_t first = std::numeric_limits<std::int64_t>::max();
  std::int64_t last = std::numeric_limits<std::int64_t>::min();
  std::unordered_map<std::string_view, std::int64_t> run_time;
  run_time.reserve(trace.jobs.size());
  for (const Job& job : trace.jobs) {
    if (job.submit_us == kUnknownTime) {
      return Fail("job " + Quoted(job.id), "has no submit_s; load needs every job's");
    }
    first = std::min(first, job.submit_us);
    last = std::max(last, job.submit_us);
    run_time.emplace(job.id, RunTimeUs(job));
  }
  for (const Task& task : trace.tasks) {
    if (task.gpu_num == 0) continue;
    const auto found = run_time.find(task.job_id);
    if (found == run_time.end() || found->second == kUnknownTime) {
      return Fail("job " + Quoted(task.job_id),
                  "has GPUs but neither duration_s nor start_s and end_s; load needs its run time");
    }
    out.work += Wide{found->second} * task.gpu_num * task.gpu_milli * task.replicas;
  }
  if (out.work == 0) return Fail("jobs", "use no GPU time; there is no load to scale");
  if (first >= last) return Fail("jobs", "all come at once; load needs time between submissions");
  out.first = first;
  out.span = last - first;
  return out;
}

}  // namespace

Result<double> OfferedLoad(const Trace& trace) {
  const Result<Offered> now = Measure(trace);
  if (!now) return tl::unexpected(now.error());
  return static_cast<double>(now->work) / static_cast<double>(Wide{now->capacity} * now->span);
}

Status ScaleLoad(Trace* trace, double load) {
  // Written so that NaN is refused too.
  if (!(load * kMillion >= 1 && load <= kMaxLoad)) {
    return Fail("load", "the range is 0.000001 to 100");
  }
  const Result<Offered> now = Measure(*trace);
  if (!now) return tl::unexpected(now.error());
  const Wide millionths = std::llround(load * kMillion);
  Wide wanted = 0;  // the span of submissions that gives the load
  if (__builtin_mul_overflow(now->work, Wide{kMillion}, &wanted)) {
    return Fail("load", "the trace's GPU time is too large to scale");
  }
  wanted /= Wide{now->capacity} * millionths;
  if (wanted > kMaxTimeUs / 2 || now->first > kMaxTimeUs / 2) {
    return Fail("load", "the submissions would reach past 15,000 years; ask for a larger load");
  }
  // Whole microseconds: below this the load would be off by more than a thousandth.
  if (wanted < 1000) {
    return Fail("load",
                "the submissions would all be within a millisecond; ask for a smaller load");
  }
  const std::string before = std::to_string(static_cast<double>(now->work) /
                                            static_cast<double>(Wide{now->capacity} * now->span));
  for (Job& job : trace->jobs) {
    const Wide since = Wide{job.submit_us} - now->first;
    job.submit_us = now->first + static_cast<std::int64_t>(since * wanted / now->span);
    job.duration_us = RunTimeUs(job);
    job.start_us = job.end_us = kUnknownTime;
  }
  trace->manifest.notes.push_back(
      "submissions moved so that the offered GPU load between the first and the last is " +
      std::to_string(static_cast<double>(millionths) / kMillion) + " of the capacity; it was " +
      before + "; run times are unchanged, recorded starts and ends dropped");
  return {};
}

}  // namespace basalt::trace
