#include "sim/platform/world.h"

#include <fmt/format.h>

#include <algorithm>

#include "scheduler-core/base/check.h"
#include "scheduler-core/base/suggest.h"
#include "sim/platform/platform.h"

namespace basalt::sim {

Result<PlatformResult> RunPlatform(const PlatformSpec& spec, const Registry& registry,
                                   const PlatformOptions& options) {
  if (spec.horizon_us <= 0 || spec.warmup_us < 0 || spec.warmup_us >= spec.horizon_us) {
    return Fail(spec.name, "the warm-up must end before the horizon");
  }
  if (spec.demand_step_us <= 0 || spec.series_step_us <= 0) {
    return Fail(spec.name, "demand and series steps must be positive");
  }
  platform::World world(spec, registry, options.audit_every);
  if (Status ok = world.SetUp(); !ok) return tl::unexpected<Error>(ok.error());
  return world.Run();
}

namespace platform {
namespace {

template <class Ids>
Result<Index> Known(const Ids& ids, const std::string& name, const std::string& where) {
  const auto found = ids.find(name);
  if (found != ids.end()) return found->second;
  std::vector<std::string> names;
  for (const auto& [known, id] : ids) names.push_back(known);
  return Fail(where, "unknown " + SuggestText(name, names));
}

}  // namespace

World::World(const PlatformSpec& spec, const Registry& registry, std::uint32_t audit_every)
    : spec_(spec),
      registry_(registry),
      audit_every_(audit_every),
      measured_from_(spec.warmup_us),
      series_(spec.warmup_us, spec.horizon_us, spec.series_step_us) {}

Status World::SetUp() {
  if (Status ok = SetUpNames(); !ok) return ok;
  if (Status ok = SetUpClusters(); !ok) return ok;
  if (Status ok = SetUpWork(); !ok) return ok;
  if (spec_.warmup_us > 0) events_.Add(spec_.warmup_us, EventKind::kWarmupEnd);
  SetUpServices();
  SetUpUsers();
  SetUpBatch();
  if (Status ok = SetUpPools(); !ok) return ok;
  for (Index i = 0; i < spec_.maintenance.size(); ++i) {
    const MaintenanceSpec& work = spec_.maintenance[i];
    const bool known = std::any_of(groups_.begin(), groups_.end(), [&](const Group& group) {
      return clusters_[group.cluster].spec->name == work.cluster && group.spec->name == work.group;
    });
    if (!known) {
      return Fail("maintenance",
                  fmt::format("there is no group {} in a cluster {}", work.group, work.cluster));
    }
    events_.Add(spec_.maintenance[i].at_us, EventKind::kMaintenance, i);
  }
  return {};
}

Status World::SetUpNames() {
  for (const TenantSpec& tenant : spec_.tenants) {
    const auto id = static_cast<Index>(tenant_ids_.size());
    if (!tenant_ids_.emplace(tenant.name, id).second) {
      return Fail("tenant " + tenant.name, "is there twice");
    }
  }
  for (const SkuSpec& sku : spec_.skus) {
    const auto id = static_cast<Index>(sku_ids_.size());
    if (!sku_ids_.emplace(sku.name, id).second) return Fail("sku " + sku.name, "is there twice");
  }
  tenant_books_.resize(spec_.tenants.size());
  sku_books_.resize(spec_.skus.size());
  return {};
}

std::uint32_t World::AddRequest(const RequestSpec& spec) {
  const auto [at, added] = request_ids_.emplace(spec, static_cast<std::uint32_t>(requests_.size()));
  if (added) requests_.push_back(spec);
  return at->second;
}

Result<Index> World::AddAsk(const OfferSpec& offer, const std::string& where) {
  Ask ask;
  ask.start_us = offer.start_us;
  ask.after_us = offer.after_us;
  RequestSpec request = offer.request;
  if (!offer.sku.empty()) {
    const Result<Index> sku = Known(sku_ids_, offer.sku, where + ": sku");
    if (!sku) return tl::unexpected<Error>(sku.error());
    ask.sku = *sku;
    request = spec_.skus[*sku].request;
  }
  if (Status ok = ValidateRequest(request, where); !ok) return tl::unexpected<Error>(ok.error());
  ask.requests.push_back(AddRequest(request));
  asks_.push_back(std::move(ask));
  return static_cast<Index>(asks_.size() - 1);
}

// In every cluster that has queues at all.
Status World::CheckQueue(const std::string& name, const std::string& where) const {
  if (name.empty()) return {};
  for (const Cluster& cluster : clusters_) {
    const QueueTree& queues = cluster.engine->queues();
    const std::optional<QueueId> queue = queues.Find(name);
    if (!queue.has_value() || !queues.IsLeaf(*queue)) {
      return Fail(where, fmt::format("queue {} is no leaf of the queue tree of cluster {}", name,
                                     cluster.spec->name));
    }
  }
  return {};
}

Status World::AddWork(const WorkloadSpec& spec, WorkClass work_class, std::size_t number) {
  const std::string where = fmt::format("{} {}", WorkClassName(work_class), spec.name);
  Work work;
  work.spec = &spec;
  work.work_class = work_class;
  work.number = static_cast<Index>(number);
  const Result<Index> tenant = Known(tenant_ids_, spec.tenant, where + ": tenant");
  if (!tenant) return tl::unexpected<Error>(tenant.error());
  work.tenant = *tenant;
  const TenantSpec& owner = spec_.tenants[*tenant];
  work.queue = spec.queue.empty() ? owner.queue : spec.queue;
  if (spec.retry_us <= 0) return Fail(where, "retry must be positive");
  work.first_ask = static_cast<Index>(asks_.size());
  if (work_class != WorkClass::kJob) {
    if (spec.offers.empty()) return Fail(where, "asks for nothing: name a request or a SKU");
    for (const OfferSpec& offer : spec.offers) {
      if (!offer.sku.empty() && !owner.skus.empty() &&
          std::find(owner.skus.begin(), owner.skus.end(), offer.sku) == owner.skus.end()) {
        return Fail(where, fmt::format("tenant {} may not use SKU {}", owner.name, offer.sku));
      }
      const Result<Index> ask = AddAsk(offer, where);
      if (!ask) return tl::unexpected<Error>(ask.error());
    }
  }
  work.offers = work_class == WorkClass::kJob ? 1 : static_cast<Index>(spec.offers.size());
  std::vector<std::pair<Index, std::int64_t>> places;
  for (const PlaceSpec& place : spec.places) {
    const Result<Index> cluster = Known(cluster_ids_, place.cluster, where + ": cluster");
    if (!cluster) return tl::unexpected<Error>(cluster.error());
    places.emplace_back(*cluster, place.after_us);
  }
  if (work_class == WorkClass::kJob && !spec_.jobs[number].tenants.empty()) {
    for (const auto& [name, weight] : spec_.jobs[number].tenants) {
      if (Status ok = CheckQueue(spec_.tenants[tenant_ids_.at(name)].queue, where); !ok) return ok;
    }
  }
  if (Status ok = CheckQueue(work.queue, where); !ok) return ok;
  if (places.empty()) {
    for (Index c = 0; c < clusters_.size(); ++c) places.emplace_back(c, 0);
  }
  for (const auto& [cluster, after] : places) {
    for (Index offer = 0; offer < work.offers; ++offer) {
      const std::int64_t offer_after =
          work_class == WorkClass::kJob ? 0 : spec.offers[offer].after_us;
      work.options.push_back({cluster, offer, std::max(after, offer_after)});
    }
  }
  if (work.options.size() > 64) return Fail(where, "more than 64 offers x places");
  works_.push_back(std::move(work));
  return {};
}

Status World::SetUpWork() {
  const auto add = [&](const auto& list, WorkClass work_class) -> Status {
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (Status ok = AddWork(list[i], work_class, i); !ok) return ok;
    }
    return {};
  };
  if (Status ok = add(spec_.services, WorkClass::kService); !ok) return ok;
  if (Status ok = add(spec_.sandboxes, WorkClass::kSandbox); !ok) return ok;
  if (Status ok = add(spec_.training, WorkClass::kTraining); !ok) return ok;
  if (Status ok = add(spec_.vms, WorkClass::kVm); !ok) return ok;
  for (const TraceJobsSpec& jobs : spec_.jobs) {
    if (jobs.workload == nullptr) return Fail("jobs " + jobs.name, "has no trace");
    for (const auto& [name, weight] : jobs.tenants) {
      const Result<Index> tenant = Known(tenant_ids_, name, "jobs " + jobs.name + ": tenant");
      if (!tenant) return tl::unexpected<Error>(tenant.error());
    }
  }
  return add(spec_.jobs, WorkClass::kJob);
}

PlatformResult World::Run() {
  while (!events_.empty() && events_.top().at < spec_.horizon_us) {
    const PlatformEvent event = events_.Pop();
    if (event.at > now_) {
      AdvanceTotals(event.at);
      now_ = event.at;
    }
    ++event_count_;
    Handle(event);
    if (events_.empty() || events_.top().at > now_) Settle();
  }
  AdvanceTotals(spec_.horizon_us);
  now_ = spec_.horizon_us;
  return Summary();
}

void World::Handle(const PlatformEvent& event) {
  const Index a = event.a;
  const bool of_unit = event.kind == EventKind::kUnitReady ||
                       event.kind == EventKind::kCheckpoint ||
                       event.kind == EventKind::kCommitted || event.kind == EventKind::kSubmit ||
                       event.kind == EventKind::kLease || event.kind == EventKind::kRetry;
  if (of_unit && units_[a].attempt != event.b) return;  // of an earlier attempt
  switch (event.kind) {
    case EventKind::kWarmupEnd:
      return WarmupEnd();
    case EventKind::kUnitDone:
      if (units_[a].version != event.b) return;
      if (works_[units_[a].work].work_class == WorkClass::kSandbox ||
          works_[units_[a].work].work_class == WorkClass::kVm) {
        return BurstDone(a);
      }
      return JobDone(a);
    case EventKind::kUnitGone:
      return Gone(a, event.b);
    case EventKind::kNodeFailed:
      return NodeFails(a);
    case EventKind::kNodeBack:
      return NodeBack(a);
    case EventKind::kMaintenance:
      return MaintenanceBegins(a);
    case EventKind::kMaintenanceEvict:
      return MaintenanceEvicts(a);
    case EventKind::kMaintenanceOver:
      return MaintenanceEnds(a);
    case EventKind::kNodesCome:
      return NodesCome(a);
    case EventKind::kCardDrained:
      return CardDrained(a);
    case EventKind::kUnitReady:
      if (units_[a].phase == Phase::kStarting) Ready(a);
      return;
    case EventKind::kCommitted:
      if (units_[a].phase == Phase::kCommitting) EndPlacement(a, Leave::kCommitted);
      return;
    case EventKind::kCheckpoint:
      if (units_[a].phase == Phase::kRunning) Checkpoint(a);
      return;
    case EventKind::kDemand:
      return DemandStep();
    case EventKind::kUserLeaves:
      return UserLeaves(a, event.b);
    case EventKind::kUserEnds:
      return UserEnds(a, event.b);
    case EventKind::kUserComes:
      return UserComes(a, event.b);
    case EventKind::kBurst:
      return BurstComes(a, event.b);
    case EventKind::kArrival:
      return SourceArrives(a);
    case EventKind::kSubmit:
      if (units_[a].phase == Phase::kDelayed) SubmitHome(a);
      return;
    case EventKind::kLadder:
      return LadderEvent(a, event.b);
    case EventKind::kSliceBack:
      return Touch(a);
    case EventKind::kMeasure:
      return Measure();
    case EventKind::kLease:
      return Lease(a, event.b);
    case EventKind::kPools:
      return DecidePools();
    case EventKind::kRetry:
      return Retry(a);
    case EventKind::kPass:
      if (clusters_[a].pass_at == now_) {
        clusters_[a].pass_at = kNever;
        RunPass(a);
      }
      return;
  }
}

// What was before the warm-up's end is taken out of the books; what holds now goes on.
void World::WarmupEnd() {
  Settle();
  for (Unit& unit : units_) {
    BookUnit(unit);
    unit.served_kept = 0;
    unit.done = 0;
  }
  for (Card& card : cards_) {
    BookCard(card);
    card.allocated = card.served = card.compute_over_us = card.memory_over_us = 0;
  }
  for (Group& group : groups_) {
    BookGroup(group);
    group.paid_us = group.allocated = group.served = group.lost = 0;
    group.peak = group.touched_cards;
  }
  for (Index s = 0; s < services_.size(); ++s) BookService(s);
  for (Work& work : works_) {
    WorkAccount kept;
    kept.infeasible = work.account.infeasible;  // a fault of the spec, whenever it shows
    // What was asked of machines counts from the warm-up's end on in any case (CountWanted).
    if (work.work_class == WorkClass::kVm) kept.wanted = work.account.wanted;
    work.account = std::move(kept);
  }
  for (UsageAccount& book : tenant_books_) book = UsageAccount{};
  for (UsageAccount& book : sku_books_) book = UsageAccount{};
  for (Cluster& cluster : clusters_) cluster.overflowed_in = 0;
  pool_result_ = PoolResult{};
  waited_us_ = 0;
  down_us_ = 0;
}

}  // namespace platform
}  // namespace basalt::sim
