#include "traces/usage_attach.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "traces/usage_cards.h"
#include "traces/usage_names.h"
#include "traces/wall_clock.h"

namespace basalt::trace {
namespace {

using Owner = UsageOwner;

class PodFinder {
 public:
  explicit PodFinder(const Trace& trace) {
    for (std::size_t i = 0; i < trace.jobs.size(); ++i) {
      jobs_.emplace(trace.jobs[i].id, static_cast<std::int64_t>(i));
    }
    for (std::size_t i = 0; i < trace.tasks.size(); ++i) {
      const auto job = jobs_.find(trace.tasks[i].job_id);
      if (job == jobs_.end()) continue;
      tasks_.emplace(trace.tasks[i].job_id + '-' + trace.tasks[i].task,
                     std::pair(job->second, static_cast<std::int64_t>(i)));
    }
  }
  Owner Find(const std::string& name_space, const std::string& pod) const {
    for (const std::string& id : {name_space + '/' + pod, pod}) {
      if (const auto job = jobs_.find(id); job != jobs_.end()) return {job->second, -1, -1};
    }
    const std::size_t digits = pod.find_last_not_of("0123456789") + 1;
    // At most six digits: no task has more replicas.
    if (digits < 2 || digits == pod.size() || pod.size() - digits > 6 || pod[digits - 1] != '-') {
      return {};
    }
    const std::string stem = pod.substr(0, digits - 1);
    for (const std::string& id : {name_space + '/' + stem, stem}) {
      if (const auto task = tasks_.find(id); task != tasks_.end()) {
        return {task->second.first, task->second.second, std::stoi(pod.substr(digits))};
      }
    }
    return {};
  }

 private:
  std::unordered_map<std::string, std::int64_t> jobs_;
  std::unordered_map<std::string, std::pair<std::int64_t, std::int64_t>> tasks_;
};

// What a series is of: a job's part of a card, or (job -1) a card.
using Entity = std::tuple<std::int64_t, std::int64_t, std::int32_t, std::string, std::string,
                          std::string_view>;  // job, task, replica, node, card, metric

struct Placed {
  const UsageSeries* series = nullptr;
  Owner owner;
  std::string node, card;
};

Entity EntityOf(const Placed& p, bool of_card) {
  const Owner owner = of_card ? Owner() : p.owner;
  return {owner.job, owner.task, owner.replica,
          p.node,    p.card,     UsageNames()[static_cast<std::size_t>(p.series->name)].metric};
}

// One point on its way into the rows.
struct Point {
  const Entity* entity = nullptr;
  std::int64_t time_us = 0;
  const std::string* container = nullptr;
  std::int64_t value = 0;
};

}  // namespace

Result<AttachedUsage> AttachUsage(const std::vector<UsageFile>& files, const Trace& trace) {
  AttachedUsage out;
  const PodFinder finder(trace);
  std::vector<OwnedSeries> all;
  bool timed = false;
  for (const UsageFile& file : files) {
    for (const UsageSeries& s : file.series) {
      for (const UsagePoint& p : s.points) timed |= p.time_us != kUnknownTime;
      all.push_back({&s, s.pod.empty() ? Owner() : finder.Find(s.name_space, s.pod)});
    }
  }
  std::int64_t zero_us = 0;
  if (timed && !ParseInstant(trace.manifest.time_zero, &zero_us)) {
    return Fail("manifest.json: time_zero",
                "is unknown, so that measurements with a time of the calendar cannot be put beside "
                "the jobs; set it to the instant at which the trace's clock is 0");
  }
  const CardNames names = NameCards(all, trace);
  out.cards_by_order = names.guessed;

  std::vector<Placed> placed;
  // From the first to the last time at which a pod has a card, as one exporter sees it.
  using Span = std::pair<std::int64_t, std::int64_t>;
  std::map<std::tuple<std::int32_t, std::string, std::string>,
           std::map<std::pair<std::string_view, std::string_view>, Span>>
      holders;
  for (const OwnedSeries& seen : all) {
    const UsageSeries& s = *seen.series;
    Placed p{&s, seen.owner, s.node, s.index};
    if (const auto card = names.by_uuid.find(s.uuid); card != names.by_uuid.end()) {
      if (p.node.empty()) p.node = card->second.node;
      p.card = card->second.card;
    }
    const bool slice = UsageNames()[static_cast<std::size_t>(s.name)].scope == UsageScope::kSlice;
    if (slice && p.owner.job < 0) {
      out.strangers += s.points.size();
      continue;
    }
    if (p.owner.job < 0 && (p.node.empty() || p.card.empty())) {
      out.nameless += s.points.size();
      continue;
    }
    if (!slice && p.owner.job >= 0) {
      Span& span = holders[{s.name, p.node, p.card}]
                       .try_emplace({s.name_space, s.pod}, s.points.front().time_us,
                                    s.points.front().time_us)
                       .first->second;
      for (const UsagePoint& point : s.points) {
        span.first = std::min(span.first, point.time_us);
        span.second = std::max(span.second, point.time_us);
      }
    }
    placed.push_back(std::move(p));
  }
  // A card that two pods have at one time: its figure is of neither.
  std::set<std::tuple<std::int32_t, std::string, std::string>> shared;
  for (const auto& [card, pods] : holders) {
    std::vector<Span> spans;
    for (const auto& [pod, span] : pods) spans.push_back(span);
    std::ranges::sort(spans);
    for (std::size_t i = 1; i < spans.size(); ++i) {
      if (spans[i].first <= spans[i - 1].second) shared.insert(card);
      spans[i].second = std::max(spans[i].second, spans[i - 1].second);
    }
  }

  // The first exporter in the table wins: among those that measured a job's part of a card, and,
  // with what that leaves of whole cards, among those that measured a card.
  std::map<Entity, std::int32_t> best;
  const auto of_card = [&](const Placed& p) {
    return p.owner.job < 0 || shared.contains({p.series->name, p.node, p.card});
  };
  const auto take = [&](const Placed& p, bool card) {
    const auto [it, added] = best.try_emplace(EntityOf(p, card), p.series->name);
    if (!added) it->second = std::min(it->second, p.series->name);
  };
  for (const Placed& p : placed) {
    if (!of_card(p)) take(p, false);
  }
  std::vector<bool> card_only(placed.size());
  for (std::size_t i = 0; i < placed.size(); ++i) {
    const Placed& p = placed[i];
    const bool slice =
        UsageNames()[static_cast<std::size_t>(p.series->name)].scope == UsageScope::kSlice;
    card_only[i] = of_card(p) || (!slice && best.at(EntityOf(p, false)) != p.series->name &&
                                  !p.node.empty() && !p.card.empty());
    if (card_only[i]) take(p, true);
  }
  std::vector<Point> points;
  for (std::size_t i = 0; i < placed.size(); ++i) {
    const Placed& p = placed[i];
    const auto winner = best.find(EntityOf(p, card_only[i]));
    if (winner->second != p.series->name) {
      out.doubled += p.series->points.size();
      continue;
    }
    for (const UsagePoint& point : p.series->points) {
      const std::int64_t us =
          point.time_us == kUnknownTime ? kUnknownTime : point.time_us - zero_us;
      points.push_back({&winner->first, us, &p.series->container, point.value_micro});
    }
  }
  std::ranges::sort(points, [](const Point& a, const Point& b) {
    if (a.entity != b.entity) return *a.entity < *b.entity;
    return std::tie(a.time_us, *a.container, a.value) < std::tie(b.time_us, *b.container, b.value);
  });
  const auto slice_of = [&](const Entity& entity) {
    return UsageNames()[static_cast<std::size_t>(best.at(entity))].scope == UsageScope::kSlice;
  };
  for (std::size_t i = 0; i < points.size();) {
    const Entity& entity = *points[i].entity;
    const bool slice = slice_of(entity);
    std::int64_t value = 0;
    std::size_t end = i;
    // Containers' parts of a card add up; a card that several series show is one card.
    for (; end < points.size() && points[end].entity == &entity &&
           points[end].time_us == points[i].time_us;
         ++end) {
      const bool repeated = end + 1 < points.size() && points[end + 1].entity == &entity &&
                            points[end + 1].time_us == points[i].time_us &&
                            *points[end + 1].container == *points[end].container;
      if (slice && !repeated) value += points[end].value;
      if (!slice) value = std::max(value, points[end].value);
    }
    Usage& row = out.rows.emplace_back();
    const auto& [job, task, replica, node, card, metric] = entity;
    if (job >= 0) row.job_id = trace.jobs[static_cast<std::size_t>(job)].id;
    if (task >= 0) row.task = trace.tasks[static_cast<std::size_t>(task)].task;
    row.replica = replica;
    row.node_id = node;
    row.gpu_id = card;
    row.time_us = points[i].time_us;
    row.metric = metric;
    row.value_micro = value;
    (job >= 0 ? out.of_jobs : out.of_cards) += end - i;
    i = end;
  }
  return out;
}

}  // namespace basalt::trace
