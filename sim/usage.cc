#include "sim/usage.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "scheduler-core/base/check.h"

namespace basalt::sim {
namespace {

using trace::kUnknownTime;
constexpr double kHourUs = 3.6e9;
constexpr std::int64_t kLeastHoldUs = 300'000'000;
constexpr std::size_t kNoJob = static_cast<std::size_t>(-1);

// What a job holds in one place, or, where no placement is known, a whole task.
struct Hold {
  std::size_t job = 0, task = 0;
  std::int32_t replica = -1;
  std::int64_t start = 0, end = 0;  // within the window
  std::int64_t milli = 0;           // all its cards together
  std::int64_t cards = 0;
  std::int64_t memory_mib = -1;  // likewise; -1 unknown
  std::string_view node;
  std::vector<std::string_view> names;  // of its cards, if known
};

struct Segment {
  std::int64_t start = 0, end = 0, value_micro = 0;
};

// One thing measured, as steps within the window.
struct Series {
  std::size_t job = kNoJob, task = kNoJob;
  std::int32_t replica = -1;
  std::string_view node, card;
  std::vector<Segment> segments;
  std::int64_t rows = 0;
  int Grain() const { return !card.empty() ? 2 : (replica >= 0 || task != kNoJob ? 1 : 0); }
};

double Hours(std::int64_t us) { return static_cast<double>(us) / kHourUs; }
double Gpus(std::int64_t milli) { return static_cast<double>(milli) / 1000; }

std::int64_t Overlap(std::int64_t a, std::int64_t b, std::int64_t c, std::int64_t d) {
  return std::max<std::int64_t>(0, std::min(b, d) - std::max(a, c));
}

using Interval = std::pair<std::int64_t, std::int64_t>;
std::vector<Interval> Union(std::vector<Interval> list) {
  std::ranges::sort(list);
  std::vector<Interval> out;
  for (const Interval& i : list) {
    if (!out.empty() && i.first <= out.back().second) {
      out.back().second = std::max(out.back().second, i.second);
    } else {
      out.push_back(i);
    }
  }
  return out;
}

// Both ascending and without overlaps inside themselves.
std::vector<Segment> Clip(const std::vector<Segment>& segments, const std::vector<Interval>& to) {
  std::vector<Segment> out;
  std::size_t k = 0;
  for (const Segment& s : segments) {
    while (k < to.size() && to[k].second <= s.start) ++k;
    for (std::size_t i = k; i < to.size() && to[i].first < s.end; ++i) {
      const std::int64_t start = std::max(s.start, to[i].first);
      const std::int64_t end = std::min(s.end, to[i].second);
      if (start < end) out.push_back({start, end, s.value_micro});
    }
  }
  return out;
}

class Reporter {
 public:
  Reporter(const trace::Trace& trace, const UsageOptions& options)
      : trace_(trace), options_(options) {}

  Result<UsageReport> Run();

 private:
  Status SetWindow();
  void MakeHolds();
  void AddHold(std::size_t task, std::int64_t start, std::int64_t end,
               const trace::Placement* placement);
  std::vector<Series> MakeSeries(std::string_view metric);
  std::vector<Segment> Steps(std::vector<std::pair<std::int64_t, std::int64_t>>* points) const;
  void GiveCardsToHolders(std::vector<Series>* series);
  void AccountJob(std::size_t job, const std::vector<Series>& use,
                  const std::vector<Series>& memory);
  void AccountIdle(JobUsage* out, const std::vector<std::pair<Segment, std::int64_t>>& measured);
  std::vector<const Hold*> HoldsOf(const Series& series) const;
  void AccountCards(const std::vector<Series>& use, const std::vector<Series>& memory);

  const trace::Trace& trace_;
  const UsageOptions& options_;
  UsageReport report_;
  std::vector<Hold> holds_;
  std::vector<std::vector<std::size_t>> holds_of_job_;
  std::unordered_map<std::string_view, std::size_t> job_index_;
  std::unordered_map<std::string_view, const trace::Node*> nodes_;
  std::vector<std::vector<std::size_t>> tasks_of_job_;
};

Status Reporter::SetWindow() {
  std::int64_t first = kUnknownTime, last = kUnknownTime;
  const auto see = [&](std::int64_t us) {
    if (us == kUnknownTime) return;
    first = first == kUnknownTime ? us : std::min(first, us);
    last = std::max(last, us);
  };
  for (const trace::Job& job : trace_.jobs) {
    see(job.start_us);
    see(job.end_us);
    if (const std::int64_t run = trace::RunTimeUs(job);
        run != kUnknownTime && job.start_us != kUnknownTime) {
      see(job.start_us + run);
    }
  }
  for (const trace::Placement& p : trace_.placements) {
    see(p.start_us);
    see(p.end_us);
  }
  for (const trace::Usage& u : trace_.usage) see(u.time_us);
  report_.from_us = options_.from_us != kUnknownTime ? options_.from_us : first;
  report_.to_us = options_.to_us != kUnknownTime ? options_.to_us : last;
  if (report_.from_us == kUnknownTime || report_.to_us <= report_.from_us) {
    return Fail("window", report_.from_us == kUnknownTime
                              ? "the trace names no time; say from when to when it holds"
                              : "is empty; say from when to when");
  }
  return {};
}

void Reporter::AddHold(std::size_t task_index, std::int64_t start, std::int64_t end,
                       const trace::Placement* placement) {
  const trace::Task& task = trace_.tasks[task_index];
  Hold hold;
  hold.job = job_index_.at(task.job_id);
  hold.task = task_index;
  hold.start = std::max(start, report_.from_us);
  hold.end = std::min(end, report_.to_us);
  if (task.gpu_num == 0 || hold.start >= hold.end) return;
  hold.cards = task.gpu_num;
  std::int64_t card_memory = task.gpu_mem_mib;
  if (placement != nullptr) {
    hold.replica = placement->replica;
    hold.node = placement->node_id;
    std::string_view rest = placement->gpu_ids;
    while (!rest.empty()) {
      const std::size_t at = std::min(rest.find(';'), rest.size());
      hold.names.push_back(rest.substr(0, at));
      rest.remove_prefix(std::min(at + 1, rest.size()));
    }
    const auto node = nodes_.find(hold.node);
    if (card_memory < 0 && task.gpu_milli == kWholeCard && node != nodes_.end()) {
      card_memory = node->second->gpu_mem_mib;
    }
  } else {
    hold.cards *= task.replicas;
  }
  hold.milli = hold.cards * task.gpu_milli;
  if (card_memory >= 0) hold.memory_mib = card_memory * hold.cards;
  holds_of_job_[hold.job].push_back(holds_.size());
  holds_.push_back(std::move(hold));
}

void Reporter::MakeHolds() {
  holds_of_job_.resize(trace_.jobs.size());
  tasks_of_job_.resize(trace_.jobs.size());
  for (std::size_t i = 0; i < trace_.jobs.size(); ++i) job_index_.emplace(trace_.jobs[i].id, i);
  for (const trace::Node& node : trace_.nodes) nodes_.emplace(node.id, &node);
  for (std::size_t i = 0; i < trace_.tasks.size(); ++i) {
    tasks_of_job_[job_index_.at(trace_.tasks[i].job_id)].push_back(i);
  }
  // What has no end runs on.
  const auto end_of = [&](const trace::Job& job, std::int64_t start) {
    if (job.end_us != kUnknownTime) return job.end_us;
    const std::int64_t run = trace::RunTimeUs(job);
    return run == kUnknownTime ? report_.to_us : start + run;
  };
  std::vector<bool> placed(trace_.jobs.size());
  for (const trace::Placement& p : trace_.placements) {
    const std::size_t job = job_index_.at(p.job_id);
    const std::int64_t start = p.start_us != kUnknownTime ? p.start_us : trace_.jobs[job].start_us;
    if (start == kUnknownTime) continue;
    for (const std::size_t task : tasks_of_job_[job]) {
      if (trace_.tasks[task].task != p.task) continue;
      placed[job] = true;
      AddHold(task, start, p.end_us != kUnknownTime ? p.end_us : end_of(trace_.jobs[job], start),
              &p);
    }
  }
  for (std::size_t j = 0; j < trace_.jobs.size(); ++j) {
    const trace::Job& job = trace_.jobs[j];
    if (placed[j]) continue;
    if (job.start_us == kUnknownTime) {
      ++report_.jobs_without_times;
      continue;
    }
    for (const std::size_t task : tasks_of_job_[j]) {
      AddHold(task, job.start_us, end_of(job, job.start_us), nullptr);
    }
  }
}

std::vector<Segment> Reporter::Steps(
    std::vector<std::pair<std::int64_t, std::int64_t>>* points) const {
  std::ranges::sort(*points);
  std::vector<Segment> out;
  // One of the whole run is the only one that counts then.
  if (points->front().first == kUnknownTime) {
    out.push_back({report_.from_us, report_.to_us, points->front().second});
    return out;
  }
  std::int64_t hold = options_.hold_us;
  if (hold == 0) {
    std::vector<std::int64_t> steps;
    for (std::size_t i = 1; i < points->size(); ++i) {
      steps.push_back((*points)[i].first - (*points)[i - 1].first);
    }
    std::ranges::sort(steps);
    const std::int64_t median = steps.empty() ? 0 : steps[steps.size() / 2];
    hold = std::max(kLeastHoldUs, median + median / 2);
  }
  for (std::size_t i = 0; i < points->size(); ++i) {
    const auto& [at, value] = (*points)[i];
    std::int64_t end = at + hold;
    if (i + 1 < points->size()) end = std::min(end, (*points)[i + 1].first);
    const std::int64_t start = std::max(at, report_.from_us);
    end = std::min(end, report_.to_us);
    if (start < end) out.push_back({start, end, value});
  }
  return out;
}

std::vector<Series> Reporter::MakeSeries(std::string_view metric) {
  using Key =
      std::tuple<std::size_t, std::size_t, std::int32_t, std::string_view, std::string_view>;
  std::map<Key, std::vector<std::pair<std::int64_t, std::int64_t>>> points;
  for (const trace::Usage& u : trace_.usage) {
    if (u.metric != metric) continue;
    ++report_.rows;
    std::size_t job = kNoJob, task = kNoJob;
    if (!u.job_id.empty()) {
      job = job_index_.at(u.job_id);
      for (const std::size_t t : tasks_of_job_[job]) {
        if (trace_.tasks[t].task == u.task) task = t;
      }
    }
    points[{job, task, u.replica, u.node_id, u.gpu_id}].emplace_back(u.time_us, u.value_micro);
  }
  std::vector<Series> out;
  for (auto& [key, list] : points) {
    const auto& [job, task, replica, node, card] = key;
    const auto rows = static_cast<std::int64_t>(list.size());
    out.push_back({job, task, replica, node, card, Steps(&list), rows});
  }
  return out;
}

// A card's own figure is that of the only job on it, where that job has none of its own.
void Reporter::GiveCardsToHolders(std::vector<Series>* series) {
  std::set<std::size_t> measured;
  for (const Series& s : *series) measured.insert(s.job);
  std::map<std::pair<std::string_view, std::string_view>, std::vector<std::size_t>> on_card;
  for (std::size_t h = 0; h < holds_.size(); ++h) {
    for (const std::string_view name : holds_[h].names)
      on_card[{holds_[h].node, name}].push_back(h);
  }
  std::vector<Series> given;
  for (const Series& s : *series) {
    if (s.job != kNoJob) continue;
    const auto found = on_card.find({s.node, s.card});
    if (found == on_card.end()) continue;
    std::vector<std::tuple<std::int64_t, bool, std::size_t>> events;  // ends before starts
    for (const std::size_t h : found->second) {
      events.emplace_back(holds_[h].start, true, h);
      events.emplace_back(holds_[h].end, false, h);
    }
    std::ranges::sort(events);
    std::set<std::size_t> active;
    std::map<std::size_t, std::vector<Interval>> alone;
    std::int64_t since = 0;
    for (const auto& [at, starts, h] : events) {
      if (active.size() == 1 && since < at) alone[*active.begin()].emplace_back(since, at);
      if (starts) {
        active.insert(h);
      } else {
        active.erase(h);
      }
      since = at;
    }
    for (const auto& [h, intervals] : alone) {
      if (measured.contains(holds_[h].job)) continue;
      given.push_back({holds_[h].job, holds_[h].task, holds_[h].replica, s.node, s.card,
                       Clip(s.segments, intervals), 0});
    }
  }
  for (Series& s : given) series->push_back(std::move(s));
}

std::vector<const Hold*> Reporter::HoldsOf(const Series& series) const {
  std::vector<const Hold*> out;
  for (const std::size_t h : holds_of_job_[series.job]) {
    const Hold& hold = holds_[h];
    if (series.task != kNoJob && hold.task != series.task) continue;
    if (series.replica >= 0 && hold.replica >= 0 && hold.replica != series.replica) continue;
    if (!series.node.empty() && !hold.node.empty() && hold.node != series.node) continue;
    if (!series.card.empty() && !hold.names.empty() &&
        std::ranges::find(hold.names, series.card) == hold.names.end()) {
      continue;
    }
    out.push_back(&hold);
  }
  return out;
}

void Reporter::AccountIdle(JobUsage* out,
                           const std::vector<std::pair<Segment, std::int64_t>>& measured) {
  struct Change {
    std::int64_t at, value, milli;
  };
  std::vector<Change> changes;
  for (const auto& [s, milli] : measured) {
    changes.push_back({s.start, s.value_micro, milli});
    changes.push_back({s.end, -s.value_micro, -milli});
  }
  std::ranges::sort(changes, {}, &Change::at);
  IdleDetector detector(options_.idle_below_percent * 1'000'000, options_.idle_for_us);
  std::int64_t value = 0, milli = 0, last = 0;
  double held = 0;  // GPU-hours of the stretch so far
  const auto close = [&](std::optional<SimTime> since, std::int64_t at) {
    if (!since) return;
    out->longest_idle_hours = std::max(out->longest_idle_hours, Hours(at - since->us));
    if (at - since->us >= options_.idle_for_us) {
      out->totals.idle_jobs = 1;
      out->totals.idle_hours += held;
    }
  };
  for (std::size_t i = 0; i < changes.size();) {
    const std::int64_t at = changes[i].at;
    const auto since = detector.Since();
    if (since) held += Hours(at - last) * Gpus(milli);
    for (; i < changes.size() && changes[i].at == at; ++i) {
      value += changes[i].value;
      milli += changes[i].milli;
    }
    if (milli > 0) {
      detector.Measured({at}, value * 1000 / milli);
    } else {
      detector.Unknown();
    }
    if (!detector.Since()) close(since, at);
    if (!since || !detector.Since()) held = 0;
    last = at;
  }
}

void Reporter::AccountJob(std::size_t job, const std::vector<Series>& use,
                          const std::vector<Series>& memory) {
  if (holds_of_job_[job].empty()) return;
  JobUsage out;
  out.job = job;
  const trace::Job& source = trace_.jobs[job];
  const auto named = [](std::string_view name) {
    return std::string(name.empty() ? std::string_view("(none)") : name);
  };
  out.tenant = named(source.tenant);
  out.department = options_.departments.empty()
                       ? named(std::string_view(source.tenant).substr(0, source.tenant.find('/')))
                       : named(options_.departments[job]);
  out.sku = options_.skus.empty() ? named(source.kind) : named(options_.skus[job]);
  UsageTotals& t = out.totals;
  t.jobs = 1;
  for (const std::size_t h : holds_of_job_[job]) {
    const Hold& hold = holds_[h];
    const double hours = Hours(hold.end - hold.start);
    t.allocated_hours += hours * Gpus(hold.milli);
    if (hold.memory_mib >= 0)
      t.memory_allocated += hours * static_cast<double>(hold.memory_mib) / 1024;
  }
  const auto finest = [](const std::vector<Series>& list) {
    int grain = 0;
    for (const Series& s : list) grain = std::max(grain, s.Grain());
    return grain;
  };
  // Each series of the finest grain, cut to the times at which its holds were there.
  const auto each = [&](const std::vector<Series>& list, auto&& account) {
    const int grain = finest(list);
    for (const Series& s : list) {
      if (s.Grain() != grain) continue;
      const std::vector<const Hold*> holds = HoldsOf(s);
      std::vector<Interval> times;
      for (const Hold* hold : holds) times.emplace_back(hold->start, hold->end);
      const std::vector<Segment> segments = Clip(s.segments, Union(std::move(times)));
      if (segments.empty()) report_.rows_unattributed += s.rows;
      for (const Segment& segment : segments) account(segment, holds, grain == 2);
    }
  };
  std::vector<std::pair<Segment, std::int64_t>> measured;
  each(use, [&](const Segment& s, const std::vector<const Hold*>& holds, bool card) {
    std::int64_t covered = 0;  // milli of the holds that are there
    for (const Hold* hold : holds) {
      const std::int64_t us = Overlap(s.start, s.end, hold->start, hold->end);
      const std::int64_t milli = card ? hold->milli / hold->cards : hold->milli;
      if (us == 0) continue;
      covered = card ? std::max(covered, milli) : covered + milli;
      t.measured_hours += Hours(us) * Gpus(milli);
    }
    t.used_hours += Hours(s.end - s.start) * static_cast<double>(s.value_micro) / 1e8;
    measured.emplace_back(s, covered);
  });
  each(memory, [&](const Segment& s, const std::vector<const Hold*>& holds, bool card) {
    bool known = true;
    for (const Hold* hold : holds) {
      const double hours = Hours(Overlap(s.start, s.end, hold->start, hold->end));
      if (hold->memory_mib < 0) {
        known = known && hours == 0;
        continue;
      }
      const double mib =
          static_cast<double>(hold->memory_mib) / (card ? static_cast<double>(hold->cards) : 1.0);
      t.memory_measured += hours * mib / 1024;
    }
    if (known)
      t.memory_used += Hours(s.end - s.start) * static_cast<double>(s.value_micro) / 1.024e9;
  });
  // Two measurements that stand at once (a job that moved) cover it once.
  t.measured_hours = std::min(t.measured_hours, t.allocated_hours);
  t.memory_measured = std::min(t.memory_measured, t.memory_allocated);
  t.wasted_hours = std::max(0.0, t.measured_hours - t.used_hours);
  AccountIdle(&out, measured);
  const auto add = [&](UsageTotals* to) {
    to->jobs += t.jobs;
    to->allocated_hours += t.allocated_hours;
    to->measured_hours += t.measured_hours;
    to->used_hours += t.used_hours;
    to->wasted_hours += t.wasted_hours;
    to->memory_allocated += t.memory_allocated;
    to->memory_measured += t.memory_measured;
    to->memory_used += t.memory_used;
    to->idle_jobs += t.idle_jobs;
    to->idle_hours += t.idle_hours;
  };
  add(&report_.total);
  add(&report_.tenants[out.tenant]);
  add(&report_.departments[out.department]);
  add(&report_.skus[out.sku]);
  report_.jobs.push_back(std::move(out));
}

void Reporter::AccountCards(const std::vector<Series>& use, const std::vector<Series>& memory) {
  struct Seen {
    CardUsage card;
    bool own_use = false, own_memory = false;
    double memory_hours = 0, memory_mib_hours = 0;
    std::vector<Interval> use_times, memory_times;
  };
  std::map<std::pair<std::string_view, std::string_view>, Seen> cards;
  for (const Hold& hold : holds_) {
    for (const std::string_view name : hold.names) {
      cards[{hold.node, name}].card.allocated_hours +=
          Hours(hold.end - hold.start) * Gpus(hold.milli / hold.cards);
    }
  }
  const auto mark = [&](const std::vector<Series>& list, bool Seen::* own) {
    for (const Series& s : list) {
      if (s.card.empty()) continue;
      Seen& seen = cards[{s.node, s.card}];
      if (s.job == kNoJob) seen.*own = true;
    }
  };
  mark(use, &Seen::own_use);
  mark(memory, &Seen::own_memory);
  for (const Series& s : use) {
    if (s.card.empty()) continue;
    Seen& seen = cards.at({s.node, s.card});
    if (seen.own_use != (s.job == kNoJob)) continue;
    for (const Segment& segment : s.segments) {
      const double hours = Hours(segment.end - segment.start);
      seen.card.used_hours += hours * static_cast<double>(segment.value_micro) / 1e8;
      seen.use_times.emplace_back(segment.start, segment.end);
    }
  }
  for (const Series& s : memory) {
    if (s.card.empty()) continue;
    Seen& seen = cards.at({s.node, s.card});
    if (seen.own_memory != (s.job == kNoJob)) continue;
    for (const Segment& segment : s.segments) {
      const double hours = Hours(segment.end - segment.start);
      seen.memory_mib_hours += hours * static_cast<double>(segment.value_micro) / 1e6;
      seen.memory_times.emplace_back(segment.start, segment.end);
    }
  }
  for (auto& [key, seen] : cards) {
    CardUsage& card = seen.card;
    card.node = key.first;
    card.card = key.second;
    if (const auto node = nodes_.find(key.first); node != nodes_.end()) {
      card.model = node->second->model;
    }
    card.window_hours = Hours(report_.to_us - report_.from_us);
    for (const auto& [start, end] : Union(std::move(seen.use_times))) {
      card.measured_hours += Hours(end - start);
    }
    for (const auto& [start, end] : Union(std::move(seen.memory_times))) {
      seen.memory_hours += Hours(end - start);
    }
    if (seen.memory_hours > 0) card.memory_mean_mib = seen.memory_mib_hours / seen.memory_hours;
    report_.cards.push_back(std::move(card));
  }
}

Result<UsageReport> Reporter::Run() {
  if (Status ok = SetWindow(); !ok) return tl::unexpected<Error>(ok.error());
  MakeHolds();
  std::vector<Series> use = MakeSeries(options_.metric);
  std::vector<Series> memory = MakeSeries("gpu_mem_mib");
  AccountCards(use, memory);
  GiveCardsToHolders(&use);
  GiveCardsToHolders(&memory);
  const auto by_job = [&](std::vector<Series>&& list) {
    std::vector<std::vector<Series>> out(trace_.jobs.size());
    for (Series& s : list) {
      if (s.job == kNoJob) continue;
      if (holds_of_job_[s.job].empty()) report_.rows_unattributed += s.rows;
      out[s.job].push_back(std::move(s));
    }
    return out;
  };
  const auto use_of = by_job(std::move(use));
  const auto memory_of = by_job(std::move(memory));
  for (std::size_t j = 0; j < trace_.jobs.size(); ++j) AccountJob(j, use_of[j], memory_of[j]);
  return std::move(report_);
}

}  // namespace

void IdleDetector::Measured(SimTime now, std::int64_t value_micro) {
  if (value_micro >= below_micro_) {
    since_.reset();
  } else if (!since_) {
    since_ = now;
  }
}

void IdleDetector::Unknown() { since_.reset(); }

std::optional<SimTime> IdleDetector::DueAt() const {
  if (!since_) return std::nullopt;
  return since_->Plus(for_us_);
}

Result<UsageReport> ReportUsage(const trace::Trace& trace, const UsageOptions& options) {
  BASALT_CHECK(options.departments.empty() || options.departments.size() == trace.jobs.size());
  BASALT_CHECK(options.skus.empty() || options.skus.size() == trace.jobs.size());
  return Reporter(trace, options).Run();
}

}  // namespace basalt::sim
