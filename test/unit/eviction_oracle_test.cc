// Evictions against an exact search over all sets of victims on small clusters, and what happens
// between a nomination and the last victim's leaving.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

#include "test/support/cluster.h"

namespace basalt {
namespace {

using support::Ask;
using support::For;
using support::Uid;

constexpr SimTime kNow = SimTime::Seconds(1000);

// What a pod holds, in the oracle's words.
struct Holding {
  PodUid uid;
  std::size_t node;
  std::int64_t cpu;
  std::vector<int> cards;
  std::int64_t milli;
  std::int32_t priority;
  std::int64_t lost;
  PodUid gang;
  bool eligible;
  std::string budget;
};
struct Machine {
  std::int64_t cpu;
  std::vector<std::int64_t> cards;
};
struct World {
  std::vector<Machine> machines;  // what is free
  std::vector<Holding> pods;
  std::map<PodUid, std::int32_t> spare;  // by gang: members that may go before it breaks
  std::map<std::string, std::int64_t> budgets;
};
using Cost = std::tuple<std::int32_t, std::int64_t, std::int64_t, std::int64_t>;

World Read(const Engine& engine, const Standing& standing) {
  World world;
  const ClusterState& state = engine.state();
  for (const NodeId node : state.order()) {
    Machine m{state.hot(node).cpu_free, {}};
    for (int c = 0; c < state.hot(node).cards; ++c)
      m.cards.push_back(state.card(node, c).free_milli);
    const std::size_t index = world.machines.size();
    world.machines.push_back(m);
    engine.ForEachOn(node, [&](const Allocation& a) {
      const Shape& shape = state.shape(a.shape);
      Holding h{a.uid, index,  shape.cpu, {}, shape.milli, a.standing->priority,
                0,     a.gang, true,      ""};
      for (const int card : a.cards) h.cards.push_back(card);
      h.lost = shape.total_milli() * (kNow.us - a.checkpoint.us + a.standing->restart_us);
      h.eligible = a.confirmed && a.standing->preemptible &&
                   a.standing->priority < standing.priority &&
                   kNow.us - a.started.us >= a.standing->min_runtime_us;
      h.budget = a.standing->budget;
      world.pods.push_back(std::move(h));
    });
  }
  for (const auto& [uid, gang] : engine.gangs())
    world.spare[uid] = gang.held - gang.spec.tasks[0].min;
  for (const auto& [name, b] : engine.budgets()) {
    const auto there = std::count_if(world.pods.begin(), world.pods.end(),
                                     [&n = name](const Holding& h) { return h.budget == n; });
    world.budgets[name] = b.min_available >= 0 ? std::max<std::int64_t>(there - b.min_available, 0)
                                               : std::min<std::int64_t>(b.max_unavailable, there);
  }
  std::sort(world.pods.begin(), world.pods.end(),
            [](const Holding& a, const Holding& b) { return a.uid < b.uid; });
  return world;
}

std::int64_t Copies(const Machine& m, const RequestSpec& spec) {
  std::int64_t most = 64;
  if (m.cpu < 0) return 0;
  if (spec.cpu_milli > 0) most = std::min(most, m.cpu / spec.cpu_milli);
  if (spec.gpus == 0) return most;
  while (most > 0) {
    std::int64_t slices = 0;
    for (const std::int64_t free : m.cards) {
      slices += std::min<std::int64_t>(most, std::max<std::int64_t>(free, 0) / spec.gpu_milli);
    }
    if (slices >= most * spec.gpus) break;
    --most;
  }
  return most;
}

bool Fits(const World& world, const std::set<std::size_t>& victims, const RequestSpec& spec,
          int members) {
  std::vector<Machine> machines = world.machines;
  for (const std::size_t v : victims) {
    const Holding& h = world.pods[v];
    machines[h.node].cpu += h.cpu;
    for (const int card : h.cards)
      machines[h.node].cards[static_cast<std::size_t>(card)] += h.milli;
  }
  std::int64_t sum = 0;
  for (const Machine& m : machines) sum += Copies(m, spec);
  return sum >= members;
}

// Empty: these may not be the victims.
std::optional<Cost> CostOf(const World& world, const std::set<std::size_t>& victims) {
  std::map<PodUid, std::int32_t> gone;
  std::map<std::string, std::int64_t> disrupted;
  std::int32_t priority = INT32_MIN;
  std::int64_t lost = 0;
  for (const std::size_t v : victims) {
    const Holding& h = world.pods[v];
    if (!h.eligible) return {};
    priority = std::max(priority, h.priority);
    lost += h.lost;
    if (h.gang != PodUid{}) ++gone[h.gang];
    if (const auto it = world.budgets.find(h.budget); it != world.budgets.end()) {
      if (++disrupted[h.budget] > it->second) return {};
    }
  }
  std::int64_t broken = 0;
  for (const auto& [gang, count] : gone) {
    if (count <= world.spare.at(gang)) continue;
    ++broken;  // then all of it
    for (std::size_t p = 0; p < world.pods.size(); ++p) {
      if (world.pods[p].gang == gang && !victims.contains(p)) return {};
    }
  }
  return Cost{priority, broken, lost, static_cast<std::int64_t>(victims.size())};
}

std::optional<Cost> Best(const World& world, const RequestSpec& spec, int members) {
  std::optional<Cost> best;
  for (std::uint32_t bits = 0; bits < (std::uint32_t{1} << world.pods.size()); ++bits) {
    std::set<std::size_t> victims;
    for (std::size_t p = 0; p < world.pods.size(); ++p) {
      if ((bits >> p & 1) != 0) victims.insert(p);
    }
    const std::optional<Cost> cost = CostOf(world, victims);
    if (cost && (!best || *cost < *best) && Fits(world, victims, spec, members)) best = cost;
  }
  return best;
}

// As kube-scheduler does it, over the whole cluster: in the order of cost until it fits, then give
// back in reverse whoever is not needed. Gangs and budgets left out of it.
std::optional<Cost> Greedy(const World& world, const RequestSpec& spec, int members) {
  std::vector<std::size_t> order;
  for (std::size_t p = 0; p < world.pods.size(); ++p) {
    if (world.pods[p].eligible) order.push_back(p);
  }
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    const Holding& x = world.pods[a];
    const Holding& y = world.pods[b];
    return std::tie(x.priority, x.lost) < std::tie(y.priority, y.lost);
  });
  std::set<std::size_t> victims;
  std::vector<std::size_t> taken;
  for (const std::size_t p : order) {
    if (Fits(world, victims, spec, members)) break;
    victims.insert(p);
    taken.push_back(p);
  }
  if (!Fits(world, victims, spec, members)) return {};
  for (auto it = taken.rbegin(); it != taken.rend(); ++it) {
    victims.erase(*it);
    if (!Fits(world, victims, spec, members)) victims.insert(*it);
  }
  return CostOf(world, victims);
}

struct Options {
  bool gangs = true;
  bool budgets = true;
  bool work = true;  // false: nobody loses any, so that fewer victims are cheaper
};

std::unique_ptr<Engine> RandomCluster(Rng& rng, const Options& options) {
  std::vector<NodeSpec> nodes;
  const std::uint32_t count = 1 + rng.Below(4);
  const int cards = static_cast<int>(1 + rng.Below(4));
  for (std::uint32_t n = 0; n < count; ++n) {
    nodes.push_back(support::Node("n" + std::to_string(n), 4000 + 2000 * rng.Below(5), cards));
  }
  auto engine = support::MakeEngine("binpack", nodes);
  if (options.budgets) {
    DisruptionBudgetSet budget{"web", -1, -1, -1};
    (rng.Below(2) == 0 ? budget.min_available : budget.max_unavailable) =
        static_cast<std::int32_t>(rng.Below(3));
    EXPECT_TRUE(engine->Apply(budget, SimTime{}).has_value());
  }
  const auto shape = [&] {
    const MilliCpu cpu = 500 * rng.Below(5);
    switch (rng.Below(4)) {
      case 0:
        return Ask(cpu + 500);
      case 1:
        return Ask(cpu, 1, 200 + 100 * static_cast<int>(rng.Below(6)));
      case 2:
        return Ask(cpu, 1, 1000);
      default:
        return Ask(cpu, 1 + static_cast<int>(rng.Below(static_cast<std::uint32_t>(cards))), 1000);
    }
  };
  std::uint64_t uid = 0;
  for (int tries = 0; tries < 14 && engine->allocation_count() < 10; ++tries) {
    Standing standing;
    standing.priority = static_cast<std::int32_t>(rng.Below(3));
    standing.preemptible = rng.Below(8) != 0;
    standing.min_runtime_us = rng.Below(6) == 0 ? 2'000'000'000 : 0;
    standing.restart_us = options.work ? 1'000'000 * rng.Below(50) : 0;
    if (rng.Below(3) == 0) standing.budget = "web";
    const auto at = SimTime::Seconds(tries * 20 + static_cast<std::int64_t>(rng.Below(20)));
    if (options.gangs && rng.Below(4) == 0) {
      GangRequest gang;
      gang.uid = Uid(1000 + ++uid);
      const auto max = static_cast<std::int32_t>(2 + rng.Below(2));
      const auto min = max - static_cast<std::int32_t>(rng.Below(2));
      gang.spec.tasks.push_back({"t", *engine->InternShape(shape()), min, max, -1});
      gang.standing = standing;
      EXPECT_TRUE(engine->PlaceGang(gang, at).has_value());
    } else {
      Request request = For(*engine, shape(), ++uid);
      request.standing = standing;
      engine->Place(request, at);
    }
  }
  if (options.work) return engine;
  for (const NodeId node : engine->state().order()) {
    std::vector<PodUid> uids;
    engine->ForEachOn(node, [&](const Allocation& a) { uids.push_back(a.uid); });
    for (const PodUid& pod : uids) {
      EXPECT_TRUE(engine->Apply(PodCheckpointed{pod}, kNow).has_value());
    }
  }
  return engine;
}

RequestSpec RandomAsk(Rng& rng) {
  const MilliCpu cpu = 1000 * rng.Below(4);
  switch (rng.Below(4)) {
    case 0:
      return Ask(cpu + 1000);
    case 1:
      return Ask(cpu, 1, 300 + 200 * static_cast<int>(rng.Below(3)));
    case 2:
      return Ask(cpu, 1, 1000);
    default:
      return Ask(cpu, 2 + static_cast<int>(rng.Below(2)), 1000);
  }
}

Cost CostOfPlan(const World& world, const EvictionPlan& plan) {
  std::set<std::size_t> victims;
  for (const Victim& v : plan.victims) {
    const auto it = std::find_if(world.pods.begin(), world.pods.end(),
                                 [&](const Holding& h) { return h.uid == v.uid; });
    EXPECT_NE(it, world.pods.end());
    victims.insert(static_cast<std::size_t>(it - world.pods.begin()));
  }
  EXPECT_EQ(victims.size(), plan.victims.size());
  const std::optional<Cost> cost = CostOf(world, victims);
  EXPECT_TRUE(cost.has_value()) << "the victims break a rule";
  return cost.value_or(Cost{});
}

TEST(EvictionOracle, APodsVictimsAreTheCheapestThereAre) {
  int found = 0;
  int not_found = 0;
  for (int i = 0; i < support::Scaled(4000); ++i) {
    const auto seed = static_cast<std::uint64_t>(i);
    Rng rng(seed, 1);
    const auto engine = RandomCluster(rng, {});
    Request request = For(*engine, RandomAsk(rng), 9000);
    request.standing.priority = static_cast<std::int32_t>(1 + rng.Below(3));
    const World world = Read(*engine, request.standing);
    const Digest128 before = engine->StateDigest();
    const EvictionPlan plan = engine->ProposeEviction(request, EvictionRules{}, kNow);
    ASSERT_EQ(engine->StateDigest(), before) << "seed " << seed;
    ASSERT_EQ(support::CheckDerived(engine->state()), "") << "seed " << seed;
    const std::optional<Cost> best =
        Best(world,
             request.shape.valid() ? engine->state().shape(request.shape).spec : RequestSpec{}, 1);
    if (best && std::get<3>(*best) == 0) continue;  // it fits as it is
    ASSERT_EQ(plan.found, best.has_value()) << "seed " << seed << ": " << plan.reason;
    if (!plan.found) {
      ++not_found;
      ASSERT_FALSE(plan.reason.empty());
      continue;
    }
    ++found;
    ASSERT_EQ(CostOfPlan(world, plan), *best) << "seed " << seed;
  }
  std::printf("pods: %d found, %d not\n", found, not_found);
  EXPECT_GT(found, support::Scaled(800));
  EXPECT_GT(not_found, support::Scaled(200));
}

struct Tally {
  int found = 0;
  int not_found = 0;
  std::int64_t ours = 0;
  std::int64_t greedys = 0;
  std::int64_t least = 0;
  double lost = 0;
  double least_lost = 0;
};

void AskForGang(std::uint64_t seed, const Options& options, Tally* tally) {
  Rng rng(seed, 1);
  const auto engine = RandomCluster(rng, options);
  const RequestSpec spec = RandomAsk(rng);
  const auto members = static_cast<std::int32_t>(1 + rng.Below(4));
  GangRequest request;
  request.uid = Uid(9000);
  request.spec.tasks.push_back({"t", *engine->InternShape(spec), members, members, -1});
  request.standing.priority = static_cast<std::int32_t>(1 + rng.Below(3));
  const World world = Read(*engine, request.standing);
  const Digest128 before = engine->StateDigest();
  const auto plan = engine->ProposeEviction(request, EvictionRules{}, kNow);
  ASSERT_TRUE(plan.has_value());
  ASSERT_EQ(engine->StateDigest(), before) << "seed " << seed;
  const std::optional<Cost> best = Best(world, spec, members);
  if (best && std::get<3>(*best) == 0) return;  // it fits as it is
  ASSERT_EQ(plan->found, best.has_value()) << "seed " << seed << ": " << plan->reason;
  if (!plan->found) {
    ++tally->not_found;
    return;
  }
  ++tally->found;
  const Cost cost = CostOfPlan(world, *plan);
  ASSERT_EQ(std::get<0>(cost), std::get<0>(*best)) << "seed " << seed;
  std::set<std::size_t> victims;
  for (std::size_t p = 0; p < world.pods.size(); ++p) {
    for (const Victim& v : plan->victims) {
      if (v.uid == world.pods[p].uid) victims.insert(p);
    }
  }
  ASSERT_TRUE(Fits(world, victims, spec, members)) << "seed " << seed;
  tally->lost += static_cast<double>(std::get<2>(cost));
  tally->least_lost += static_cast<double>(std::get<2>(*best));
  tally->ours += std::get<3>(cost);
  tally->least += std::get<3>(*best);
  if (options.gangs) return;
  const std::optional<Cost> greedy = Greedy(world, spec, members);
  ASSERT_TRUE(greedy.has_value());
  tally->greedys += std::get<3>(*greedy);
  // Never more victims than greed's, unless less work is lost with them.
  if (std::get<2>(cost) < std::get<2>(*greedy)) return;
  ASSERT_LE(10 * std::get<3>(cost), 11 * std::get<3>(*greedy)) << "seed " << seed;
}

void Print(const char* what, const Tally& t) {
  std::printf(
      "%s: %d found, %d not; %lld victims, the optimum %lld, greedy %lld; work lost %.4f of "
      "the least\n",
      what, t.found, t.not_found, static_cast<long long>(t.ours), static_cast<long long>(t.least),
      static_cast<long long>(t.greedys), t.least_lost == 0 ? 1.0 : t.lost / t.least_lost);
}

TEST(EvictionOracle, AGangsVictimsAreFoundWheneverThereAreAny) {
  Tally tally;
  for (int i = 0; i < support::Scaled(3000) && !HasFatalFailure(); ++i) {
    AskForGang(static_cast<std::uint64_t>(i) + 50'000, {true, false, true}, &tally);
  }
  Print("among gangs", tally);
  EXPECT_GT(tally.found, support::Scaled(500));
  EXPECT_GT(tally.not_found, support::Scaled(200));
}

TEST(EvictionOracle, AGangsVictimsAreNoMoreThanGreedsAndATenth) {
  Tally work;
  Tally count;
  for (int i = 0; i < support::Scaled(3000) && !HasFatalFailure(); ++i) {
    AskForGang(static_cast<std::uint64_t>(i) + 60'000, {false, false, true}, &work);
    AskForGang(static_cast<std::uint64_t>(i) + 60'000, {false, false, false}, &count);
  }
  Print("by work", work);
  Print("by count", count);
  EXPECT_GT(work.found, support::Scaled(500));
  EXPECT_LE(10 * work.ours, 11 * work.greedys);
  EXPECT_LE(10 * count.ours, 11 * count.greedys);
}

// Between the nomination and the last victim's leaving others ask for places at random. The
// preemptor ends with exactly what was planned, and no card is ever given twice by a decision.
TEST(EvictionOracle, WhatIsFreedGoesToWhomItWasFreedFor) {
  int nominated = 0;
  for (int i = 0; i < support::Scaled(1500); ++i) {
    const auto seed = static_cast<std::uint64_t>(i) + 100'000;
    Rng rng(seed, 1);
    const auto engine = RandomCluster(rng, {});
    const bool is_gang = rng.Below(2) == 0;
    const RequestSpec spec = RandomAsk(rng);
    Request pod = For(*engine, spec, 9000);
    GangRequest gang;
    gang.uid = Uid(9000);
    gang.spec.tasks.push_back({"t", pod.shape, 2, 2, -1});
    pod.standing.priority = gang.standing.priority = 5;
    const auto plan =
        is_gang ? engine->ProposeEviction(gang, EvictionRules{}, kNow)
                : Result<EvictionPlan>(engine->ProposeEviction(pod, EvictionRules{}, kNow));
    ASSERT_TRUE(plan.has_value());
    if (!plan->found || plan->victims.empty()) continue;
    ++nominated;
    const auto lease =
        is_gang ? engine->NominateGang(gang, *plan, kNow) : engine->Nominate(pod, *plan, kNow);
    ASSERT_TRUE(lease.has_value()) << lease.error().ToString() << " seed " << seed;
    ASSERT_TRUE(engine->Audit().has_value()) << "seed " << seed;
    std::vector<Victim> leaving = plan->victims;
    rng.Shuffle(std::span<Victim>(leaving));
    std::uint64_t other = 20'000;
    SimTime now = kNow;
    const auto crowd = [&] {
      for (int k = 0; k < 3; ++k) {
        Request request = For(*engine, RandomAsk(rng), ++other);
        request.standing.priority = static_cast<std::int32_t>(rng.Below(9));
        engine->Place(request, now);
      }
    };
    for (const Victim& victim : leaving) {
      ASSERT_FALSE(engine->RoomIsFree(Uid(9000)));
      ASSERT_FALSE((is_gang ? engine->ConfirmGang(*lease, now) : engine->Confirm(*lease, now)));
      crowd();
      now = now.Plus(3'600'000'000);  // far longer than a lease lives
      ASSERT_TRUE(rng.Below(2) == 0 ? engine->Release(victim.uid, now).has_value()
                                    : engine->Apply(PodGone{victim.uid}, now).has_value());
      crowd();
      const Status audit = engine->Audit();
      ASSERT_TRUE(audit.has_value()) << audit.error().ToString() << " seed " << seed;
    }
    ASSERT_TRUE(engine->RoomIsFree(Uid(9000)));
    ASSERT_TRUE((is_gang ? engine->ConfirmGang(*lease, now) : engine->Confirm(*lease, now)))
        << "seed " << seed;
    const auto holds = [&](const PodUid& uid, const Placement& place) {
      const Allocation* a = engine->Find(uid);
      return a != nullptr && a->node == place.node && a->cards == place.cards && a->confirmed;
    };
    if (is_gang) {
      for (const GangOutcome::Member& m : plan->gang.members) {
        ASSERT_TRUE(holds(engine->FindGang(gang.uid)->pods[static_cast<std::size_t>(m.member)],
                          m.placement));
      }
    } else {
      ASSERT_TRUE(holds(pod.uid, plan->placement));
    }
    for (const NodeId node : engine->state().order()) {
      ASSERT_GE(engine->state().hot(node).cpu_free, 0) << "seed " << seed;
      for (int c = 0; c < engine->state().hot(node).cards; ++c) {
        ASSERT_GE(engine->state().card(node, c).free_milli, 0) << "seed " << seed;
      }
    }
  }
  EXPECT_GT(nominated, support::Scaled(300));
}

// Jobs of several queues and priorities that want more than there is, and take from each other as
// far as the rules go: it ends, nobody is below its guarantee for want of asking, and no queue is
// above its capacity.
void TakeTurns(std::uint64_t seed, const EvictionRules& rules, std::int64_t* evictions) {
  Rng rng(seed, 3);
  const int nodes = 2 + static_cast<int>(rng.Below(2));
  std::vector<NodeSpec> specs;
  for (int n = 0; n < nodes; ++n) {
    specs.push_back(support::Node("n" + std::to_string(n), 64'000, 4));
  }
  auto engine = support::MakeEngine("binpack", specs);
  std::vector<std::string> queues;
  std::int64_t left = nodes * 4;
  for (std::uint32_t q = 0, n = 2 + rng.Below(3); q < n; ++q) {
    QueueSpec spec;
    spec.name = "q" + std::to_string(q);
    const std::int64_t guarantee = rng.Below(static_cast<std::uint32_t>(left / 2 + 1));
    left -= guarantee;
    if (guarantee > 0) spec.guarantee = {{"gpu", guarantee * 1000}};
    if (rng.Below(3) == 0) {
      spec.capacity = {{"gpu", (guarantee + 2) * 1000}};
    }
    spec.weight = static_cast<std::int32_t>(1 + rng.Below(3));
    ASSERT_TRUE(engine->Apply(QueueSet{spec}, SimTime{}).has_value());
    queues.push_back(spec.name);
  }
  struct Job {
    Request request;
    bool waits = true;
  };
  std::vector<Job> jobs;
  SimTime now = kNow;
  std::int64_t evicted = 0;
  // One job's turn: those within their queue's share first, by priority, as any queue order has it.
  // What a victim leaves beyond what was asked for is then its own queue's, not a borrower's.
  const auto round = [&] {
    bool any = false;
    FairShares shares;
    shares.Divide(engine->CaughtUpQueues(), DivisionOptions{}, nullptr);
    const ResourceId gpu = *engine->queues().resources().Find("gpu");
    std::vector<Job*> order;
    for (Job& job : jobs) order.push_back(&job);
    std::stable_sort(order.begin(), order.end(), [&](const Job* a, const Job* b) {
      const auto borrows = [&](const Job& job) {
        const QueueId queue = *engine->queues().Find(job.request.standing.queue);
        return engine->queues().allocated(queue)[gpu] + engine->AskOf(job.request.shape)[gpu] >
               shares.share(queue)[gpu];
      };
      if (borrows(*a) != borrows(*b)) return borrows(*b);
      return a->request.standing.priority > b->request.standing.priority;
    });
    for (Job* turn : order) {
      Job& job = *turn;
      if (!job.waits) continue;
      now = now.Plus(1'000'000);
      const std::string& queue = job.request.standing.queue;
      const Amounts ask = engine->AskOf(job.request.shape);
      if (!engine->Place(job.request, now).placed()) {
        const EvictionPlan plan = engine->ProposeEviction(job.request, rules, now);
        if (!plan.found) continue;
        const auto lease = engine->Nominate(job.request, plan, now);
        ASSERT_TRUE(lease.has_value()) << lease.error().ToString() << " seed " << seed;
        for (const Victim& v : plan.victims) {
          ASSERT_TRUE(engine->Release(v.uid, now).has_value());
          Job& victim = *std::find_if(jobs.begin(), jobs.end(),
                                      [&](const Job& j) { return j.request.uid == v.uid; });
          victim.waits = true;
          engine->AddPending(victim.request.standing.queue, engine->AskOf(victim.request.shape));
          ++evicted;
        }
        ASSERT_TRUE(engine->Confirm(Lease{job.request.uid, lease->epoch, {}}, now).has_value());
      }
      job.waits = false;
      engine->RemovePending(queue, ask);
      any = true;
      const Status audit = engine->Audit();
      ASSERT_TRUE(audit.has_value()) << audit.error().ToString() << " seed " << seed;
      break;
    }
    if (!any) now = SimTime{-1};
  };
  for (int wave = 0; wave < 3; ++wave) {
    for (std::uint32_t j = 0; j < 8; ++j) {
      Job job;
      job.request =
          For(*engine, Ask(100, 1 + static_cast<int>(rng.Below(2)), 1000), 1 + jobs.size());
      job.request.standing.queue = queues[rng.Below(static_cast<std::uint32_t>(queues.size()))];
      job.request.standing.priority = static_cast<std::int32_t>(rng.Below(3));
      engine->AddPending(job.request.standing.queue, engine->AskOf(job.request.shape));
      jobs.push_back(std::move(job));
    }
    now = now.us < 0 ? SimTime::Seconds(1000 + 1000 * wave) : now;
    for (int rounds = 0; now.us >= 0; ++rounds) {
      ASSERT_LT(rounds, 300) << "it never ends, seed " << seed;
      round();
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  *evictions += evicted;
  const QueueTree& tree = engine->queues();
  const ResourceId gpu = *tree.resources().Find("gpu");
  for (const std::string& name : queues) {
    const QueueId queue = *tree.Find(name);
    ASSERT_LE(tree.allocated(queue)[gpu], tree.capacity(queue)[gpu]);
    for (const Job& job : jobs) {
      // Jobs of one card only: what two cards need may be there in scattered ones.
      if (!job.waits || job.request.standing.queue != name) continue;
      if (engine->state().shape(job.request.shape).gpus > 1) continue;
      ASSERT_GT(tree.allocated(queue)[gpu] + 1000, tree.guarantee(queue)[gpu])
          << "seed " << seed << ": " << engine->Propose(job.request, kNow).reason << "; "
          << engine->ProposeEviction(job.request, rules, kNow).reason;
    }
  }
}

TEST(EvictionOracle, TakingFromEachOtherEndsAndGuaranteesAreReclaimed) {
  std::int64_t evictions = 0;
  for (int i = 0; i < support::Scaled(400) && !HasFatalFailure(); ++i) {
    EvictionRules rules;
    TakeTurns(static_cast<std::uint64_t>(i), rules, &evictions);
    rules.preempt_across_queues = false;
    TakeTurns(static_cast<std::uint64_t>(i), rules, &evictions);
  }
  std::printf("%lld evictions\n", static_cast<long long>(evictions));
  EXPECT_GT(evictions, support::Scaled(800));
}

}  // namespace
}  // namespace basalt
