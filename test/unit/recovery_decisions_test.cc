// An engine that was restored, or recovered from a journal, decides as the one that lived on: names
// were interned in another order, node slots and allocation slots are others, and no tie may tell.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "scheduler-core/base/rng.h"
#include "scheduler-core/engine/engine.h"
#include "test/support/cluster.h"

namespace basalt {
namespace {

using support::Ask;
using support::MakeEngine;
using support::Policy;
using support::Uid;

constexpr const char* kModels[] = {"H20", "A100", "C500", "T4"};
constexpr std::uint64_t kGangs = 100'000;  // uids of gangs begin here

// A history is drawn without looking at an engine, but for which of its nominations goes on.
class History {
 public:
  explicit History(std::uint64_t seed) : rng_(seed, 21) {}

  void Begin(Engine& engine) {
    CardRules rules;
    rules.model = "C500";
    rules.vendor = "metax";
    rules.one_qos = true;
    Must(engine.Apply(CardRulesSet{rules}, SimTime{}));
    CardRules other;
    other.model = "A100";
    other.vendor = "nvidia";
    Must(engine.Apply(CardRulesSet{other}, SimTime{}));
    // Ranks, and so ties, are not in the order in which nodes come; the first is not to stay.
    for (int n = 0; n < 7; ++n) Must(engine.Apply(NodeAdded{NodeOf(n)}, SimTime{}));
    Must(engine.Apply(NodeRemoved{"n0"}, SimTime{}));
    const auto queue = [&](const char* name, AmountMap guarantee, AmountMap capacity,
                           std::int32_t ratio) {
      QueueSpec spec;
      spec.name = name;
      spec.guarantee = std::move(guarantee);
      spec.capacity = std::move(capacity);
      spec.memory_ratio_percent = ratio;
      Must(engine.Apply(QueueSet{spec}, SimTime{}));
    };
    queue("z", {}, {{"slices", 6}, {"gpu/A100", 2000}, {"sku/b", 2}}, 150);
    queue("a", {{"gpu", 2000}}, {{"gpu", 9000}, {"cpu", 9000}, {"memory", 9000}}, 0);
    queue("m", {}, {{"cards/H20", 2}, {"gpu/C500", 1500}}, 0);
    Must(engine.Apply(DisruptionBudgetSet{"web", -1, 1, -1}, SimTime{}));
    Must(engine.Apply(DisruptionBudgetSet{"api", 2, -1, -1}, SimTime{}));
  }

  struct Op {
    std::uint32_t what = 0;
    std::uint64_t uid = 0, other = 0;
    RequestSpec spec, second;
    Standing standing;
    std::int32_t members = 1, min = 1;
    bool two_tasks = false, flag = false, evict = false;
    int node = 0;
  };
  Op Next() {
    Op op;
    op.what = rng_.Below(20);
    op.uid = ++uids_;
    op.other = 1 + rng_.Below(static_cast<std::uint32_t>(uids_));
    op.spec = RandomSpec();
    op.second = RandomSpec();
    const char* queues[] = {"", "a", "m", "z", "late"};
    op.standing.queue = queues[rng_.Below(5)];
    op.standing.priority = static_cast<std::int32_t>(rng_.Below(4));
    op.standing.preemptible = rng_.Below(6) != 0;
    if (rng_.Below(3) == 0) op.standing.budget = rng_.Below(2) == 0 ? "web" : "api";
    if (rng_.Below(4) == 0) op.standing.sku = rng_.Below(2) == 0 ? "a" : "b";
    if (rng_.Below(8) == 0) op.standing.min_runtime_us = 50;
    op.members = 2 + static_cast<std::int32_t>(rng_.Below(3));
    op.min = 1 + static_cast<std::int32_t>(rng_.Below(2));
    op.two_tasks = rng_.Below(3) == 0;
    op.flag = rng_.Below(2) == 0;
    op.evict = rng_.Below(2) == 0;
    op.node = static_cast<int>(rng_.Below(7));
    return op;
  }

  static NodeSpec NodeOf(int n) {
    NodeSpec node = support::Node("n" + std::to_string(n), 12'000, 2 + n % 3, kModels[n % 4],
                                  n % 4 == 3 ? 0 : 20'000);
    node.rank = (n * 5) % 7;
    node.memory_mib = 12'000;
    for (std::size_t c = 0; c < node.cards.size(); ++c) {
      node.cards[c].uuid = "u" + std::to_string(n) + "-" + std::to_string(c);
      if (n % 4 == 1) node.cards[c].memory_ratio_percent = 200;
      if (n == 6 && c == 1) node.cards[c].model = "A100";  // two models on one node
    }
    node.network = {{1, "rack-" + std::to_string(n % 2)}};
    return node;
  }

 private:
  static void Must(const Status& ok) { ASSERT_TRUE(ok.has_value()) << ok.error().ToString(); }
  RequestSpec RandomSpec() {
    RequestSpec spec = Ask(500 * rng_.Below(4), 1 + static_cast<int>(rng_.Below(2)),
                           rng_.Below(2) == 0 ? 1000 : 250 * (1 + static_cast<int>(rng_.Below(3))));
    spec.memory_mib = 500 * rng_.Below(4);
    if (rng_.Below(12) == 0) spec.gpus = spec.gpu_milli = 0;
    if (spec.gpus == 0) return spec;
    if (rng_.Below(4) == 0) spec.gpu_memory_mib = 4000 + 4000 * rng_.Below(3);
    if (rng_.Below(3) == 0) spec.qos = rng_.Below(2) == 0 ? "fixed" : "burst";
    const auto uuid = [this] {
      const std::uint32_t n = rng_.Below(7);
      return "u" + std::to_string(n) + "-" + std::to_string(rng_.Below(2));
    };
    if (rng_.Below(8) == 0) spec.use_uuids = {uuid(), uuid(), uuid(), uuid()};
    if (rng_.Below(6) == 0) spec.nouse_uuids = {uuid(), uuid()};
    if (rng_.Below(6) == 0) spec.vendors = {rng_.Below(2) == 0 ? "metax" : "nvidia"};
    if (rng_.Below(4) == 0) spec.models = {kModels[rng_.Below(4)], kModels[rng_.Below(4)]};
    if (rng_.Below(8) == 0) spec.nouse_models = {kModels[rng_.Below(4)]};
    if (rng_.Below(3) == 0) spec.service_class = ServiceClass::kBestEffort;
    return spec;
  }
  Rng rng_;
  std::uint64_t uids_ = 0;
};

std::string Place(const Engine& engine, const Placement& placement) {
  std::string text =
      engine.state().name(placement.node) + ":" + std::to_string(placement.cards.bits());
  if (placement.numa == nullptr) return text;
  for (const SliceTake& s : placement.numa->slices) {
    text += "/" + std::to_string(s.card) + "," + std::to_string(s.milli) + "," +
            std::to_string(s.memory);
  }
  return text;
}

std::string Places(const Engine& engine, const GangOutcome& outcome) {
  std::string text;
  for (const GangOutcome::Member& m : outcome.members) {
    text += " " + std::to_string(m.member) + "@" + Place(engine, m.placement);
  }
  return text;
}

std::string Victims(const EvictionPlan& plan) {
  std::string text = " evicts";
  for (const Victim& v : plan.victims) text += " " + UidText(v.uid);
  return text;
}

// Does it, and says what was decided.
std::string Play(Engine& engine, const History::Op& op, SimTime now) {
  const EvictionRules rules;
  const auto done = [](const Status& ok) { return std::string(ok ? " ok" : " refused"); };
  if (op.what < 9) {
    Request request{Uid(op.uid), 0, *engine.InternShape(op.spec), 0, op.standing};
    const Outcome outcome = engine.Propose(request, now);
    std::string text = "pod " + std::string(OutcomeKindName(outcome.kind));
    if (outcome.placed()) {
      text += " " + Place(engine, outcome.placement);
      const auto lease = engine.Reserve(request, outcome.placement, now);
      if (lease && op.flag) static_cast<void>(engine.Confirm(*lease, now));
      return text + (lease ? "" : " not reserved");
    }
    if (!op.evict) return text;
    const EvictionPlan plan = engine.ProposeEviction(request, rules, now);
    if (!plan.found) return text + " no plan";
    text += Victims(plan) + " " + Place(engine, plan.placement);
    return text + (engine.Nominate(request, plan, now) ? " nominated" : " not nominated");
  }
  if (op.what < 13) {
    GangRequest gang;
    gang.uid = Uid(kGangs + op.uid);
    gang.standing = op.standing;
    gang.spec.tasks.push_back({"a", *engine.InternShape(op.spec), op.min, op.members, -1});
    if (op.two_tasks) {
      gang.spec.tasks.push_back({"b", *engine.InternShape(op.second), 1, 2, -1});
    }
    const auto outcome = engine.PlaceGang(gang, now);
    if (!outcome) return "gang refused";
    std::string text = "gang " + std::string(OutcomeKindName(outcome->kind));
    text += Places(engine, *outcome);
    if (outcome->placed() || !op.evict) return text;
    const auto plan = engine.ProposeEviction(gang, rules, now);
    if (!plan || !plan->found) return text + " no plan";
    text += Victims(*plan) + Places(engine, plan->gang);
    return text + (engine.NominateGang(gang, *plan, now) ? " nominated" : " not nominated");
  }
  if (op.what == 13 || op.what == 14) return "release" + done(engine.Release(Uid(op.other), now));
  if (op.what == 15) {
    return "gang's end" + done(engine.ReleaseGang(Uid(kGangs + op.other), now));
  }
  const std::string name = "n" + std::to_string(op.node);
  if (op.what == 16) {
    if (engine.nominations().empty()) return "nobody leaves";
    const auto& [nominee, nomination] = *engine.nominations().begin();
    const bool of_gang = nomination.gang;
    const PodUid uid = nominee;
    const PodUid victim = *nomination.waiting.begin();
    if (op.flag || op.evict) return "leaves" + done(engine.Release(victim, now));
    return "given up" + done(of_gang ? engine.ReleaseGang(uid, now) : engine.Release(uid, now));
  }
  if (op.what == 17) {
    if (engine.state().FindNode(name).valid()) {
      return "node goes" + done(engine.Apply(NodeRemoved{name}, now));
    }
    return "node comes" + done(engine.Apply(NodeAdded{History::NodeOf(op.node)}, now));
  }
  if (op.what == 18 && op.evict) {
    const NodeId node = engine.state().FindNode(name);
    if (!node.valid()) return "no such node";
    NodeSpec spec = engine.state().SpecOf(node);
    if (op.flag) {
      spec.labels = {{"round", std::to_string(op.uid % 3)}};
    } else {
      std::rotate(spec.cards.begin(), spec.cards.begin() + 1, spec.cards.end());
      spec.cpu_milli += 500;
      if (op.uid % 3 == 0 && spec.cards.size() > 1) spec.cards.pop_back();
    }
    return "described anew" + done(engine.Apply(NodeChanged{spec}, now));
  }
  if (op.what == 18) return "cordon" + done(engine.Apply(NodeCordoned{name, op.flag}, now));
  if (op.flag) {  // its resources have been met before, or have not
    QueueSpec late;
    late.name = "late";
    late.capacity = {{"gpu/T4", 1000}, {"gpu/H20", 2000}, {"sku/a", 1}, {"slices", 4}};
    return "queue" + done(engine.Apply(QueueSet{late}, now));
  }
  return "checkpoint" + done(engine.Apply(PodCheckpointed{Uid(op.other)}, now));
}

TEST(RecoveryDecisions, AsTheEngineThatLivedOn) {
  std::size_t placed = 0;
  std::size_t nominated = 0;
  for (int i = 0; i < support::Scaled(150); ++i) {
    const auto seed = static_cast<std::uint64_t>(i);
    History history(seed);
    JournalBuffer journal;
    EngineOptions options;
    options.seed = seed;
    options.lease_ttl_us = 40;
    EngineOptions journaled = options;
    journaled.journal = &journal;
    const char* policies[] = {"binpack", "spread", "best-fit", "random", "binpack/spread"};
    const char* policy = policies[i % 5];
    auto living = MakeEngine(policy, {}, journaled);
    ASSERT_NO_FATAL_FAILURE(history.Begin(*living));
    std::int64_t t = 0;
    for (int step = 0; step < 120; ++step) {
      Play(*living, history.Next(), SimTime{t += 5});
    }
    options.target = support::SmallTarget();
    auto restored = Engine::Restore(living->Snapshot(), Policy(policy), options);
    ASSERT_TRUE(restored.has_value()) << restored.error().ToString();
    auto recovered = MakeEngine(policy, {}, options);
    const auto read = ReadJournal(journal.bytes());
    for (const JournalRecord& record : read->records) {
      ASSERT_TRUE(recovered->ApplyRecord(record).has_value());
    }
    Engine* others[] = {restored->get(), recovered.get()};
    for (int step = 0; step < 60; ++step) {
      const History::Op op = history.Next();
      t += 5;
      const std::string said = Play(*living, op, SimTime{t});
      placed += said.find("Placed") != std::string::npos ? 1 : 0;
      nominated += said.ends_with(" nominated") ? 1 : 0;
      for (Engine* other : others) {
        ASSERT_EQ(Play(*other, op, SimTime{t}), said)
            << (other == others[0] ? "restored" : "recovered") << ", seed " << seed << ", step "
            << step << ", " << policy;
        ASSERT_EQ(other->StateDigest(), living->StateDigest())
            << said << (other == others[0] ? ": restored" : ": recovered") << ", seed " << seed
            << ", step " << step;
      }
    }
    for (Engine* other : others) {
      const Status ok = other->Audit();
      ASSERT_TRUE(ok.has_value()) << ok.error().ToString();
    }
  }
  EXPECT_GT(placed, 500U);
  EXPECT_GT(nominated, 50U);
}

}  // namespace
}  // namespace basalt
