// The result of a run, from the books.
#include <algorithm>
#include <map>

#include "sim/platform/world.h"

namespace basalt::sim {

const char* WorkClassName(WorkClass work_class) {
  switch (work_class) {
    case WorkClass::kService:
      return "service";
    case WorkClass::kSandbox:
      return "sandbox";
    case WorkClass::kTraining:
      return "training";
    case WorkClass::kVm:
      return "vm";
    case WorkClass::kJob:
      return "job";
  }
  return "";
}

namespace platform {
namespace {

constexpr double kMilliUsPerGpuHour = 3.6e12;
constexpr double kUsPerMinute = 6e7;

double GpuHours(double milli_us) { return milli_us / kMilliUsPerGpuHour; }
double Hours(double us) { return us / 3.6e9; }
double Ratio(double a, double b) { return b > 0 ? a / b : kNotMeasured; }

UsageRow Row(const std::string& name, const UsageAccount& book) {
  return {name, GpuHours(book.allocated), GpuHours(book.served), GpuHours(book.lost),
          Hours(book.charged)};
}

void AddTo(UsageAccount& sum, const UsageAccount& book) {
  sum.allocated += book.allocated;
  sum.served += book.served;
  sum.lost += book.lost;
  sum.charged += book.charged;
}

}  // namespace

WorkloadResult World::Report(const WorkAccount& a, const Work* work, WorkClass work_class) const {
  WorkloadResult r;
  r.name = work != nullptr ? work->spec->name : WorkClassName(work_class);
  if (work != nullptr) r.tenant = work->spec->tenant;
  r.work_class = work_class;
  r.submitted = a.submitted;
  r.started = a.started;
  r.completed = a.completed;
  r.infeasible = a.infeasible;
  r.abandoned = a.abandoned;
  r.completed_gpu_hours = GpuHours(a.completed_work);
  r.wanted_gpu_hours = GpuHours(a.wanted);
  r.allocated_gpu_hours = GpuHours(a.allocated);
  r.served_gpu_hours = GpuHours(a.served);
  r.lost_gpu_hours = GpuHours(a.lost);
  r.wait_seconds = Summarize(a.waits);
  r.slowdown = a.slowdown.Summary();
  r.slow_share_pct = a.slowdown.ShareAbove(spec_.runtime.slowdown_milli / 1000.0);
  r.overload_minutes = a.over_us / kUsPerMinute;
  r.overload_compute_minutes = a.over_compute_us / kUsPerMinute;
  r.overload_memory_minutes = a.over_memory_us / kUsPerMinute;
  r.overload_host_minutes = a.over_host_us / kUsPerMinute;
  r.evictions = a.evictions;
  r.ladder_evictions = a.ladder_evictions;
  r.failures = a.failures;
  r.commits = a.commits;
  r.restarts = a.restarts;
  r.reclaimed = a.reclaimed;
  r.reclaimed_gpu_hours = GpuHours(a.reclaimed_milli_us);
  r.returns = a.returns;
  r.return_wait_minutes = a.return_wait_us / kUsPerMinute;
  r.blocked_hours = Hours(a.blocked_us);
  r.throttled_hours = Hours(a.throttled_us);
  r.offloaded_hours = Hours(a.offloaded_us);
  return r;
}

PlatformResult World::Summary() {
  for (Unit& unit : units_) BookUnit(unit);
  for (Card& card : cards_) BookCard(card);
  for (Group& group : groups_) BookGroup(group);
  for (Index s = 0; s < services_.size(); ++s) BookService(s);
  for (const Unit& unit : units_) {
    if (Waits(unit)) BookWait(unit);
    if (unit.phase == Phase::kWaiting || unit.phase == Phase::kParked) {
      waited_us_ += static_cast<double>(now_ - std::max(unit.waits_since, measured_from_));
    }
  }
  for (const Node& node : nodes_) {
    if (node.down) {
      down_us_ += static_cast<double>(now_ - std::max(node.down_since, measured_from_)) *
                  groups_[node.group].spec->cards;
    }
  }
  for (User& user : users_) {
    if (!user.reclaimed || !units_[user.unit].places.empty()) continue;
    const std::int64_t from = std::max(user.reclaimed_at, measured_from_);
    works_[user.work].account.reclaimed_milli_us +=
        static_cast<double>(user.reclaimed_milli) * static_cast<double>(now_ - from);
  }

  PlatformResult r;
  r.name = spec_.name;
  r.seed = spec_.seed;
  r.measured_hours = Hours(static_cast<double>(spec_.horizon_us - measured_from_));
  const double months = r.measured_hours / kHoursPerMonth;

  std::map<std::string, UsageAccount> models;
  std::vector<ClusterResult> clusters(clusters_.size());
  for (std::size_t c = 0; c < clusters_.size(); ++c) {
    clusters[c].name = clusters_[c].spec->name;
    clusters[c].region = clusters_[c].spec->region;
    clusters[c].is_private = clusters_[c].spec->is_private;
    clusters[c].overflowed_in = clusters_[c].overflowed_in;
  }
  for (const Group& group : groups_) {
    const NodeGroupSpec& spec = *group.spec;
    ClusterResult& cluster = clusters[group.cluster];
    const std::int64_t cards = std::int64_t{spec.count} * spec.cards;
    cluster.cards += group.present ? cards : 0;
    cluster.capacity_gpu_hours += Hours(group.paid_us);
    cluster.allocated_gpu_hours += GpuHours(group.allocated);
    cluster.served_gpu_hours += GpuHours(group.served);
    r.lost_gpu_hours += GpuHours(group.lost);
    UsageAccount& model = models[spec.model];
    model.allocated += group.allocated;
    model.served += group.served;
    model.lost += group.lost;
    if (spec.price.billing == Billing::kOnDemand) {
      cluster.cost += Hours(group.paid_us) * spec.price.card_hour;
      cluster.rented_peak_cards += static_cast<double>(group.peak);
    } else if (spec.price.billing == Billing::kOwned) {
      cluster.cost += Hours(group.paid_us) * spec.price.card_hour;
      r.cards += group.present ? cards : 0;
    } else {
      cluster.cost += Hours(group.paid_us) * spec.price.card_month / kHoursPerMonth;
      r.cards += group.present ? cards : 0;
      if (group.present) {
        // Whole months are owed from the first day on.
        const double from = Hours(static_cast<double>(spec.ordered_us + spec.lead_time_us));
        const double had = (Hours(static_cast<double>(spec_.horizon_us)) - from) / kHoursPerMonth;
        const double term = std::max(1, spec.price.commitment_months);
        cluster.committed += (std::ceil(had / term) * term - had) * static_cast<double>(cards) *
                             spec.price.card_month;
      }
    }
  }
  for (ClusterResult& cluster : clusters) {
    cluster.cost_per_month = Ratio(cluster.cost, months);
    cluster.cost_per_allocated_hour = Ratio(cluster.cost, cluster.allocated_gpu_hours);
    cluster.cost_per_served_hour = Ratio(cluster.cost, cluster.served_gpu_hours);
    r.capacity_gpu_hours += cluster.capacity_gpu_hours;
    r.allocated_gpu_hours += cluster.allocated_gpu_hours;
    r.served_gpu_hours += cluster.served_gpu_hours;
    r.cost += cluster.cost;
  }
  r.clusters = std::move(clusters);
  r.utilization_pct = Ratio(100 * r.served_gpu_hours, r.capacity_gpu_hours);
  r.allocation_pct = Ratio(100 * r.allocated_gpu_hours, r.capacity_gpu_hours);
  r.touched_pct = Ratio(100 * Hours(series_.total().touched), r.capacity_gpu_hours);
  r.failed_gpu_hours = Hours(down_us_);
  r.cost_per_month = Ratio(r.cost, months);
  r.cost_per_allocated_hour = Ratio(r.cost, r.allocated_gpu_hours);
  r.cost_per_served_hour = Ratio(r.cost, r.served_gpu_hours);

  std::vector<WorkAccount> by_class(kWorkClasses);
  std::vector<bool> occurs(kWorkClasses, false);
  Digest demand;
  for (const Work& work : works_) {
    const auto k = static_cast<std::size_t>(work.work_class);
    by_class[k].Merge(work.account);
    occurs[k] = true;
    r.workloads.push_back(Report(work.account, &work, work.work_class));
    demand.Add(work.demand.value());
  }
  for (std::size_t k = 0; k < by_class.size(); ++k) {
    if (occurs[k]) {
      r.classes.push_back(Report(by_class[k], nullptr, static_cast<WorkClass>(k)));
    }
  }
  std::map<std::string, UsageAccount> departments;
  for (std::size_t t = 0; t < tenant_books_.size(); ++t) {
    r.tenants.push_back(Row(spec_.tenants[t].name, tenant_books_[t]));
    AddTo(departments[spec_.tenants[t].department], tenant_books_[t]);
  }
  for (const auto& [name, book] : departments) r.departments.push_back(Row(name, book));
  for (std::size_t k = 0; k < sku_books_.size(); ++k) {
    r.skus.push_back(Row(spec_.skus[k].name, sku_books_[k]));
  }
  for (const auto& [name, book] : models) r.models.push_back(Row(name, book));
  for (const Card& card : cards_) {
    const Node& node = nodes_[card.node];
    r.cards_used.push_back({clusters_[node.cluster].spec->name, node.name, card.number,
                            groups_[node.group].spec->model, GpuHours(card.allocated),
                            GpuHours(card.served), card.compute_over_us / kUsPerMinute,
                            card.memory_over_us / kUsPerMinute});
    r.card_overload_compute_minutes += card.compute_over_us / kUsPerMinute;
    r.card_overload_memory_minutes += card.memory_over_us / kUsPerMinute;
  }
  r.series = series_.Finish();
  r.pools = pool_result_;
  const auto measured_us = static_cast<double>(spec_.horizon_us - measured_from_);
  r.mean_waiting = series_.total().waiting / measured_us;
  r.slots_short = series_.total().slots_short / measured_us;
  r.waited_hours = Hours(waited_us_);
  r.demand_digest = demand.value();
  for (const Cluster& cluster : clusters_) {
    happened_.Add(cluster.engine->DecisionDigest());
    const WorkCounters& work = cluster.engine->work();
    r.work.decisions += work.decisions;
    r.work.nodes_checked += work.nodes_checked;
    r.work.nodes_scored += work.nodes_scored;
    r.work.index_rebuilds += work.index_rebuilds;
    r.work.exact_fallbacks += work.exact_fallbacks;
    r.work.gang_steps += work.gang_steps;
  }
  r.decision_digest = happened_.value();
  r.events = event_count_;
  r.passes = pass_count_;
  return r;
}

}  // namespace platform
}  // namespace basalt::sim
