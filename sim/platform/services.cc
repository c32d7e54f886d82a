// Inference services: demand in steps, replicas that follow it, and what their users get.
#include <algorithm>
#include <cmath>

#include "sim/platform/world.h"

namespace basalt::sim::platform {
namespace {

constexpr double kNothingServed = 100;  // the slowdown that stands for "not served"

bool Wanted(Phase phase) { return phase != Phase::kIdle && phase != Phase::kGone; }

}  // namespace

void World::SetUpServices() {
  for (Index w = 0; w < works_.size(); ++w) {
    Work& work = works_[w];
    if (work.work_class != WorkClass::kService) continue;
    Service service;
    service.spec = &spec_.services[work.number];
    service.work = w;
    const RequestSpec& request = requests_[asks_[work.first_ask].requests[0]];
    const std::int32_t use =
        service.spec->use_milli > 0 ? service.spec->use_milli : request.gpu_milli;
    service.replica = static_cast<double>(use) * request.gpus;
    for (const std::int32_t level : service.spec->demand_milli) work.demand.Add(level);
    services_.push_back(std::move(service));
  }
  if (!services_.empty()) events_.Add(0, EventKind::kDemand);
}

void World::DemandStep() {
  const std::int64_t step = now_ / spec_.demand_step_us;
  for (Index s = 0; s < services_.size(); ++s) {
    Service& service = services_[s];
    const std::vector<std::int32_t>& demand = service.spec->demand_milli;
    double load = 0;
    if (now_ >= service.spec->from_us && now_ < service.spec->to_us) {
      const std::int32_t level =
          demand.empty() ? kFullLoad : demand[static_cast<std::size_t>(step) % demand.size()];
      load = service.spec->replicas_max * (level / 1000.0);
    }
    BookService(s);
    service.load = load;
    Scale(s);
    TouchService(s);
  }
  events_.Add((step + 1) * spec_.demand_step_us, EventKind::kDemand);
}

// As many replicas as the load wants, fewer only after it wanted fewer for a while.
void World::Scale(Index s) {
  Service& service = services_[s];
  if (service.refused) return;
  const ServiceSpec& spec = *service.spec;
  const bool exists = now_ >= spec.from_us && now_ < spec.to_us;
  std::int32_t wanted = 0;
  if (exists) {
    const double at_target = service.load * 1000 / std::max(spec.target_load_milli, 1);
    wanted = std::clamp(static_cast<std::int32_t>(std::ceil(at_target - 1e-9)), spec.replicas_min,
                        spec.replicas_max);
  }
  if (wanted >= service.desired || !exists) {
    service.below_since = -1;
  } else {
    if (service.below_since < 0) service.below_since = now_;
    if (now_ < service.below_since + spec.scale_down_us)
      wanted = service.desired;
    else
      service.below_since = -1;
  }
  service.desired = wanted;
  std::vector<Index> up;
  for (const Index u : service.units) {
    if (Wanted(units_[u].phase)) up.push_back(u);
  }
  while (static_cast<std::int32_t>(up.size()) < wanted) {
    Index u = kNone;
    for (const Index free : services_[s].units) {
      if (units_[free].phase == Phase::kIdle) {
        u = free;
        break;
      }
    }
    if (u == kNone) {
      u = NewUnit(service.work, s, 1);
      services_[s].units.push_back(u);
    }
    up.push_back(u);
    Queue(u, true);
  }
  if (static_cast<std::int32_t>(up.size()) == wanted) return;
  // Those that have no place go first, then the newest.
  std::stable_sort(up.begin(), up.end(), [this](Index a, Index b) {
    const bool a_placed = !units_[a].places.empty(), b_placed = !units_[b].places.empty();
    if (a_placed != b_placed) return a_placed;
    return units_[a].ready_at < units_[b].ready_at;
  });
  for (std::size_t i = static_cast<std::size_t>(wanted); i < up.size(); ++i) {
    if (units_[up[i]].places.empty()) {
      Withdraw(up[i]);
    } else {
      EndPlacement(up[i], Leave::kFinished);
    }
  }
}

// Divides the demand evenly over the replicas that serve, and notes what they make of it.
void World::ShareDemand(Index s) {
  BookService(s);
  Service& service = services_[s];
  std::int32_t serving = 0;
  for (const Index u : service.units) serving += units_[u].phase == Phase::kRunning ? 1 : 0;
  const double each = serving > 0 ? std::min(1.0, service.load / serving) : 0;
  double served = 0;
  for (const Index u : service.units) {
    Unit& unit = units_[u];
    if (unit.phase != Phase::kRunning) continue;
    if (unit.level != each) SetUse(u, each);
    served += each * unit.rate;
  }
  service.served = served;
}

void World::BookService(Index s) {
  Service& service = services_[s];
  const auto dt = static_cast<double>(now_ - service.booked_at);
  service.booked_at = now_;
  if (dt <= 0 || service.load <= 0) return;
  WorkAccount& account = works_[service.work].account;
  account.wanted += dt * service.load * service.replica;
  account.completed_work += dt * service.served * service.replica;
  const bool all = service.served >= service.load * (1 - 1e-9);
  const double slowdown =
      all ? 1 : std::min(kNothingServed, service.load / std::max(service.served, 1e-9));
  account.slowdown.Add(slowdown, dt * service.load * service.replica / 3.6e12);
}

}  // namespace basalt::sim::platform
