#include "test/support/gangs.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "scheduler-core/base/check.h"
#include "test/support/cluster.h"

namespace basalt::support {

std::vector<NodeSpec> Racks(int racks, int nodes, int cards, int per_spine) {
  std::vector<NodeSpec> out;
  for (int r = 0; r < racks; ++r) {
    for (int n = 0; n < nodes; ++n) {
      NodeSpec node = Node(fmt::format("r{}n{}", r, n), 64'000, cards);
      node.network = {{kRack, fmt::format("r{}", r)}};
      if (per_spine > 0) node.network.push_back({kSpine, fmt::format("s{}", r / per_spine)});
      out.push_back(std::move(node));
    }
  }
  return out;
}

std::unique_ptr<Engine> GangEngine(const std::vector<NodeSpec>& nodes, EngineOptions options,
                                   std::string_view policy) {
  options.tier_names = {{kRack, "rack"}, {kSpine, "spine"}};
  return MakeEngine(policy, nodes, std::move(options));
}

GangRequest MakeGang(Engine& engine, std::uint64_t uid, const std::vector<TaskAsk>& tasks,
                     LevelWish level, const std::vector<LevelWish>& groups) {
  GangRequest request;
  request.uid = PodUid{0x6a26, uid};
  request.spec.level = level;
  for (const TaskAsk& task : tasks) {
    const Result<ShapeId> shape = engine.InternShape(task.spec);
    BASALT_CHECK(shape.has_value());
    request.spec.tasks.push_back({"", *shape, task.min, task.max, task.group});
  }
  for (const LevelWish& group : groups) {
    request.spec.groups.push_back({fmt::format("g{}", request.spec.groups.size()), group});
  }
  return request;
}

std::vector<oracle::GangNode> OracleNodes(const ClusterState& state, bool empty) {
  std::vector<oracle::GangNode> out;
  for (const NodeId id : state.order()) {
    const NodeSpec spec = state.SpecOf(id);
    oracle::GangNode node;
    node.cpu = empty ? spec.cpu_milli : state.hot(id).cpu_free;
    node.memory = empty ? spec.memory_mib : state.hot(id).memory_free;
    const std::int64_t limit = spec.max_pods == 0 ? 1'000'000 : spec.max_pods;
    node.pods = empty ? limit : limit - state.pods_on(id);
    if (!empty && state.cordoned(id)) node.pods = 0;
    for (int c = 0; c < static_cast<int>(spec.cards.size()); ++c) {
      const CardState& card = state.card(id, c);
      node.cards.push_back({empty          ? card.compute_total
                            : card.healthy ? card.free_milli
                                           : 0,
                            spec.cards[static_cast<std::size_t>(c)].model});
    }
    for (const topology::DomainStep& step : spec.network) {
      node.path.emplace_back(step.tier, step.name);
    }
    out.push_back(std::move(node));
  }
  return out;
}

oracle::GangAsk OracleAsk(const Engine& engine, const GangSpec& spec) {
  oracle::GangAsk out;
  for (const GangTask& task : spec.tasks) {
    const RequestSpec& shape = engine.state().shape(task.shape).spec;
    out.tasks.push_back(
        {{shape.cpu_milli, shape.memory_mib, shape.gpus, shape.gpu_milli, shape.models},
         task.min,
         task.group});
  }
  for (const GangGroup& group : spec.groups) out.group_required.push_back(group.level.required);
  out.required = spec.level.required;
  return out;
}

namespace {

oracle::GangPut PutOf(const Engine& engine, const GangSpec& spec, std::int32_t member, NodeId node,
                      CardSet cards) {
  oracle::GangPut put;
  put.task = static_cast<int>(spec.TaskOf(member));
  (void)engine.state().order();
  put.node = static_cast<int>(engine.state().position(node));
  for (const int card : cards) put.cards.push_back(card);
  return put;
}

}  // namespace

std::vector<oracle::GangPut> OraclePuts(const Engine& engine, const GangSpec& spec,
                                        const GangOutcome& outcome) {
  std::vector<oracle::GangPut> out;
  for (const GangOutcome::Member& m : outcome.members) {
    out.push_back(PutOf(engine, spec, m.member, m.placement.node, m.placement.cards));
  }
  return out;
}

std::vector<oracle::GangPut> OracleHeld(const Engine& engine, const Gang& gang) {
  std::vector<oracle::GangPut> out;
  for (std::size_t m = 0; m < gang.pods.size(); ++m) {
    if (gang.members[m] != Gang::Member::kHeld) continue;
    const Allocation* a = engine.Find(gang.pods[m]);
    out.push_back(PutOf(engine, gang.spec, static_cast<std::int32_t>(m), a->node, a->cards));
  }
  return out;
}

std::vector<NodeSpec> RandomGangNodes(Rng& rng, const GangWorldOptions& options) {
  std::vector<NodeSpec> out;
  const auto count = 2 + rng.Below(static_cast<std::uint32_t>(options.nodes - 1));
  for (std::uint32_t i = 0; i < count; ++i) {
    const char* model = rng.Below(3) == 0 ? "A10" : "T4";
    NodeSpec node =
        Node(fmt::format("n{}", i), 1000 * (2 + rng.Below(15)),
             static_cast<int>(rng.Below(static_cast<std::uint32_t>(options.cards) + 1)), model);
    node.memory_mib = 1024 * (4 + rng.Below(12));
    if (options.mixed_models && rng.Below(5) == 0) {
      for (CardSpec& card : node.cards) card.model = rng.Below(2) == 0 ? "A10" : "T4";
    }
    if (rng.Below(8) == 0) node.max_pods = static_cast<std::int32_t>(1 + rng.Below(3));
    // Names are used again under other parents; some nodes skip a tier or know nothing.
    if (rng.Below(5) != 0) node.network.push_back({kRack, fmt::format("r{}", rng.Below(2))});
    if (rng.Below(4) != 0) node.network.push_back({kSpine, fmt::format("s{}", rng.Below(2))});
    out.push_back(std::move(node));
  }
  return out;
}

RequestSpec RandomGangShape(Rng& rng) {
  RequestSpec spec = Ask(1000 * rng.Below(5));
  spec.memory_mib = rng.Below(2) == 0 ? 0 : 1024 * rng.Below(5);
  switch (rng.Below(6)) {
    case 0:
      if (spec.cpu_milli == 0) spec.cpu_milli = 500;
      break;
    case 1:
    case 2:
      spec.gpus = 1;
      spec.gpu_milli = static_cast<MilliGpu>(100 * (1 + rng.Below(9)));
      break;
    case 3:
      spec.gpus = 2;
      spec.gpu_milli = static_cast<MilliGpu>(250 * (1 + rng.Below(3)));
      break;
    default:
      spec.gpus = static_cast<std::int32_t>(1 + rng.Below(3));
      spec.gpu_milli = kWholeCard;
  }
  if (spec.gpus > 0 && rng.Below(4) == 0) spec.models = {rng.Below(2) == 0 ? "A10" : "T4"};
  return spec;
}

GangRequest RandomGang(Rng& rng, Engine& engine, std::uint64_t uid, int members, bool alike) {
  const auto level = [&rng] {
    static constexpr int kLevels[] = {0, kRack, kSpine, kAnyTier};
    LevelWish wish;
    const std::uint32_t required = rng.Below(6);
    wish.required = required < 3 ? kLevels[required] : kAnyTier;
    wish.preferred = std::min(kLevels[rng.Below(4)], wish.required);
    return wish;
  };
  std::vector<LevelWish> groups;
  std::vector<TaskAsk> tasks;
  const LevelWish whole = level();
  if (!alike) {
    for (std::uint32_t g = rng.Below(3); g > 0; --g) {
      groups.push_back(level());
      groups.back().preferred = std::min(groups.back().preferred, whole.required);
    }
  }
  const int count = alike ? 1 : static_cast<int>(1 + rng.Below(3));
  int left = members;
  for (int t = 0; t < count; ++t) {
    TaskAsk task;
    task.spec = RandomGangShape(rng);
    task.min = static_cast<std::int32_t>(rng.Below(static_cast<std::uint32_t>(left) + 1));
    if (t == 0) task.min = std::max(task.min, 1);
    left -= task.min;
    task.max = std::max(1, task.min + static_cast<std::int32_t>(rng.Below(3)));
    if (rng.Below(3) != 0) task.max = std::max(1, task.min);
    if (!groups.empty()) {
      task.group =
          static_cast<std::int32_t>(rng.Below(static_cast<std::uint32_t>(groups.size()) + 1)) - 1;
    }
    tasks.push_back(std::move(task));
  }
  GangRequest request = MakeGang(engine, uid, tasks, whole, groups);
  request.spec.layout = static_cast<GangLayout>(rng.Below(4));
  return request;
}

std::string CheckGangs(Engine& engine) {
  if (const Status ok = engine.Audit(); !ok) return ok.error().ToString();
  std::size_t members = 0;
  for (const auto& [uid, gang] : engine.gangs()) {
    const std::string who = "gang " + UidText(uid) + ": ";
    std::size_t holding = 0;
    bool below = false;
    for (std::size_t t = 0; t < gang.spec.tasks.size(); ++t) {
      below = below || gang.Count(t, Gang::Member::kHeld) + gang.Count(t, Gang::Member::kFinished) <
                           gang.spec.tasks[t].min;
    }
    for (std::size_t m = 0; m < gang.pods.size(); ++m) {
      const Allocation* a = engine.Find(gang.pods[m]);
      const bool holds = a != nullptr && a->gang == uid && a->member == static_cast<int>(m);
      if (holds != (gang.members[m] == Gang::Member::kHeld)) return who + "books differ";
      holding += holds ? 1 : 0;
      // A lost member keeps its old place in mind until its replacement is confirmed.
      const bool home = gang.homes.contains(static_cast<std::int32_t>(m));
      const bool open = holds && !a->confirmed;
      if (home ? gang.members[m] != Gang::Member::kLost && !open
               : gang.members[m] == Gang::Member::kLost) {
        return who + "homes differ";
      }
    }
    if (holding == 0) return who + "is there and holds nothing";
    if (gang.degraded != below) return who + "degraded is wrong";
    const bool lost = std::count(gang.members.begin(), gang.members.end(), Gang::Member::kLost) > 0;
    if (below && !lost) return who + "holds a part, and nothing was lost";
    members += holding;
    oracle::GangAsk ask = OracleAsk(engine, gang.spec);
    for (auto& task : ask.tasks) task.count = 0;
    const std::string levels = oracle::CheckPlacement(OracleNodes(engine.state(), false), ask, {},
                                                      OracleHeld(engine, gang));
    if (!levels.empty()) return who + levels;
  }
  std::size_t of_gangs = 0;
  for (const NodeId node : engine.state().order()) {
    engine.ForEachOn(node, [&](const Allocation& a) { of_gangs += a.member >= 0 ? 1 : 0; });
  }
  return members == of_gangs ? "" : "allocations of gangs that are not there";
}

}  // namespace basalt::support
