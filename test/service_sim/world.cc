#include "test/service_sim/world.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>

#include "adapters/service/uid.h"

namespace basalt::service_sim {
namespace {

constexpr int kSchedulers = 3;
constexpr std::size_t kMostJobs = 40;
constexpr std::size_t kMostNodes = 8;
constexpr std::size_t kLeastNodes = 4;
const service::Caller kExecutor{"executor", true};

}  // namespace

World::World(std::uint64_t seed)
    : net_(seed), server_(&net_, &tally_), syncer_(&net_, &api_, &server_, &tally_) {
  for (std::size_t n = 0; n < 6; ++n) api_.AddNode();
  wrong_ = server_.Start();
  syncer_.Begin();
  for (std::uint64_t s = 0; s < kSchedulers; ++s) {
    schedulers_.push_back(
        std::make_unique<Scheduler>(&net_, &api_, &server_, &tally_, s, kSchedulers));
    schedulers_.back()->Begin();
  }
  Churn();
  Trouble();
  Execute();
  Tick();
}

void World::AddJob() {
  Rng& rng = net_.rng();
  static constexpr int kMilli[] = {1000, 1000, 500, 250, 600};
  const bool gang = rng.Below(3) == 0;
  const int gpus = rng.Below(6) == 0 ? 0 : 1 + static_cast<int>(rng.Below(6) == 0);
  const int milli = gpus == 0 ? 0 : gpus > 1 ? 1000 : kMilli[rng.Below(5)];
  const int pods = gang ? 2 + static_cast<int>(rng.Below(5)) : 1;
  Job job;
  job.gang = gang;
  job.gpus = gpus;
  job.milli = milli;
  job.cpu_milli = 1000 * static_cast<int>(1 + rng.Below(6));
  job.memory_mib = 1024 * static_cast<int>(1 + rng.Below(12));
  job.priority = static_cast<int>(rng.Below(3));
  job.queue = static_cast<int>(rng.Below(kQueues));
  api_.AddJob(std::move(job), pods);
}

// Jobs come and go, nodes now and then.
void World::Churn() {
  Rng& rng = net_.rng();
  if (faults_) {
    if (api_.jobs().size() < kMostJobs) AddJob();
    if (!api_.jobs().empty() && rng.Below(12) == 0) {
      auto job = api_.jobs().begin();
      std::advance(job, rng.Below(static_cast<std::uint32_t>(api_.jobs().size())));
      ++tally_.deletions;
      api_.DeleteJob(job->first, rng.Below(2) == 0);
    }
    auto node = api_.nodes().begin();
    std::advance(node, rng.Below(static_cast<std::uint32_t>(api_.nodes().size())));
    if (rng.Below(150) == 0 && api_.nodes().size() > kLeastNodes) {
      ++tally_.node_losses;
      api_.RemoveNode(std::string(node->first));
    } else if (rng.Below(60) == 0) {
      api_.Touch(node->first);
    }
    if (rng.Below(100) == 0 && api_.nodes().size() < kMostNodes) api_.AddNode();
  }
  // What is placed as a whole runs for a while.
  bool pending = false;
  std::vector<std::uint64_t> done;
  for (const auto& [number, job] : api_.jobs()) {
    bool whole = true;
    for (const std::uint64_t pod : job.pods) whole = whole && api_.IsBound(pod);
    pending = pending || !whole;
    if (whole && rng.Below(50) == 0) done.push_back(number);
  }
  if (faults_ || pending) {
    for (const std::uint64_t job : done) api_.DeleteJob(job, false);
  }
  net_.After(50'000 + net_.Micros(400'000), [this] { Churn(); });
}

void World::Trouble() {
  Rng& rng = net_.rng();
  if (faults_) {
    if (rng.Below(20) == 0 && server_.up()) {
      server_.Crash();
      net_.After(net_.Micros(800'000), [this] {
        if (std::string why = server_.Start(); !why.empty()) wrong_ = why;
      });
    }
    if (rng.Below(20) == 0) {
      schedulers_[rng.Below(kSchedulers)]->Crash();
    }
    if (rng.Below(30) == 0) syncer_.Break();
    if (rng.Below(40) == 0) {
      ++tally_.jumps;
      server_.SetSkew(static_cast<std::int64_t>(rng.Below(40'000'000)) - 15'000'000);
    }
    if (rng.Below(60) == 0) server_.FillDisk(static_cast<int>(rng.Below(20)));
    if (rng.Below(10) == 0) server_.MendDisk();
    if (rng.Below(30) == 0) {
      ++tally_.partitions;
      const auto peer = static_cast<Peer>(rng.Below(kPeers));
      const std::uint32_t way = rng.Below(3);
      net_.Cut(peer, way != 0, way != 1);
      net_.After(net_.Micros(20'000'000), [this, peer] { net_.Mend(peer); });
    }
    // The network is sometimes good and sometimes hardly there.
    if (rng.Below(25) == 0) net_.faults.drop_percent = rng.Below(3) == 0 ? 40 : rng.Below(6);
  }
  net_.After(300'000 + net_.Micros(700'000), [this] { Trouble(); });
}

// Whoever is told to make room deletes the pod, and says so.
void World::Execute() {
  for (const pb::Action& action : server_.Actions()) {
    const Result<PodUid> uid = service::ParseUid(action.pod().uid());
    if (!uid || action.kind() != pb::ACTION_KIND_EVICT) {
      wrong_ = "an action that nobody can carry out: " + action.ShortDebugString();
      continue;
    }
    api_.DeletePod(uid->lo, true);
    pb::AckActionRequest ack;
    ack.set_id(action.id());
    ack.set_server_epoch(action.server_epoch());
    ack.set_done(true);
    server_.Ask<pb::AckActionResponse>(
        Peer::kExecutor,
        [ack](service::Service& s, SimTime now) { return s.AckAction(kExecutor, ack, now); },
        [](const service::Answer<pb::AckActionResponse>&) {});
  }
  net_.After(400'000, [this] { Execute(); });
}

void World::Tick() {
  server_.Tick();
  net_.After(100'000, [this] { Tick(); });
}

std::string World::Check() {
  if (!wrong_.empty()) return wrong_;
  if (!api_.violation().empty()) return api_.violation();
  for (const auto& scheduler : schedulers_) {
    if (!scheduler->violation().empty()) return scheduler->violation();
  }
  if (!server_.up()) return "";
  if (steps_ % 1'000 == 0) {
    if (Status ok = server_.service().Audit(); !ok) return ok.error().ToString();
  }
  return steps_ % 100 == 0 ? Probe() : "";
}

std::string World::Run(std::uint64_t steps) {
  for (std::uint64_t s = 0; s < steps; ++s) {
    ++steps_;
    if (!net_.Step()) return "nothing happens any more";
    if (server_.up()) {
      for (const auto& [uid, nomination] : server_.service().engine().nominations()) {
        for (const PodUid& victim : nomination.waiting) {
          api_.Leaves(victim.lo);
          made_to_leave_.insert(victim.lo);
        }
      }
    }
    if (std::string why = Check(); !why.empty()) return fmt::format("step {}: {}", steps_, why);
  }
  return "";
}

std::string World::Settle() {
  faults_ = false;
  const Faults bad = std::exchange(net_.faults, Faults{0, 0, 0});
  server_.MendDisk();
  for (std::uint32_t p = 0; p < kPeers; ++p) net_.Mend(static_cast<Peer>(p));
  const std::int64_t deadline = net_.now_us() + 900'000'000;
  const auto pending = [this] {
    for (const auto& [number, pod] : api_.pods()) {
      if (pod.node.empty()) return number;
    }
    return std::uint64_t{0};
  };
  while (net_.now_us() < deadline && (pending() != 0 || !server_.up())) {
    if (std::string why = Run(1); !why.empty()) return why;
  }
  if (const std::uint64_t pod = pending(); pod != 0) {
    std::string about;
    for (const auto& [number, job] : api_.jobs()) {
      about += fmt::format("\njob {}, {} of {} pods bound; ", number,
                           std::ranges::count_if(job.pods, [&](auto p) { return api_.IsBound(p); }),
                           job.pods.size());
      for (const auto& scheduler : schedulers_) about += scheduler->About(number);
    }
    server_.service().engine().ForEachAllocation([&](const Allocation& a) {
      about +=
          fmt::format("\nheld {:x}, gang {:x}, member {}{}{}", a.uid.lo, a.gang.lo, a.member,
                      a.is_leaving() ? ", leaves" : "", a.expires == kNever ? "" : ", unconfirmed");
    });
    return fmt::format("pod {} is not placed 900 s after the last fault: {}", pod, about);
  }
  // Leases that nobody wanted end, and what is bound is told.
  const std::int64_t quiet = net_.now_us() + 120'000'000;
  while (net_.now_us() < quiet) {
    if (std::string why = Run(1); !why.empty()) return why;
  }
  if (pending() != 0) return "something is pending though nothing came";
  const Engine& engine = server_.service().engine();
  if (server_.service().open_leases() != 0) return "a lease is open that nobody has";
  if (engine.allocation_count() != api_.pods().size()) {
    return fmt::format("{} pods are bound and {} are held", api_.pods().size(),
                       engine.allocation_count());
  }
  for (const auto& [number, pod] : api_.pods()) {
    const Allocation* held = engine.Find(support::Uid(number));
    if (held == nullptr || engine.state().name(held->node) != pod.node ||
        held->cards.bits() != pod.cards) {
      return fmt::format("pod {} is held elsewhere than it runs", number);
    }
  }
  if (engine.state().totals().nodes != static_cast<std::int64_t>(api_.nodes().size())) {
    return "the server has other nodes than there are";
  }
  if (Status ok = server_.service().Audit(); !ok) return ok.error().ToString();
  net_.faults = bad;
  faults_ = true;
  return "";
}

}  // namespace basalt::service_sim
