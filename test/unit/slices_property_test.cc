// Slices against a slow, obvious search on small nodes, and a million random steps in which no card
// ever has more than its limits: compute, memory as oversubscribed, guaranteed memory, slots, MIG
// slots, exclusive cards.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "scheduler-core/base/rng.h"
#include "test/support/cluster.h"

namespace basalt {
namespace {

using support::Ask;
using support::For;

// A30: four slots.
CardRules A30() {
  CardRules rules;
  rules.model = "A30";
  rules.vendor = "nvidia";
  rules.mig_slots = 4;
  rules.mig = {{"1g.6gb", 5952, 250, 1, {0, 1, 2, 3}, false},
               {"2g.12gb", 11'968, 500, 2, {0, 2}, false},
               {"4g.24gb", 24'125, 1000, 4, {0}, false}};
  return rules;
}
CardRules Equal() {
  CardRules rules;
  rules.model = "P800";
  rules.vendor = "kunlunxin";
  rules.equal_slices = true;
  rules.templates = {{"24g", 24'576, 250}, {"48g", 49'152, 500}, {"96g", 98'304, 1000}};
  return rules;
}
CardRules Qos() {
  CardRules rules;
  rules.model = "C500";
  rules.vendor = "metax";
  rules.one_qos = true;
  rules.memory_unit_mib = 1024;
  return rules;
}

struct Maker {
  Rng rng;
  explicit Maker(std::uint64_t seed) : rng(seed, 7) {}
  int Below(int n) { return static_cast<int>(rng.Below(static_cast<std::uint32_t>(n))); }
  bool OneIn(int n) { return Below(n) == 0; }

  CardSpec Card(const std::string& model) {
    CardSpec card;
    card.model = model;
    card.memory_mib = model == "A30" ? 24'576 : model == "P800" ? 98'304 : 16'384;
    if (model == "A30") card.mode = CardMode::kMig;
    if (model == "T4") {
      card.memory_ratio_percent = 100 + 25 * Below(5);
      card.compute_milli = OneIn(4) ? 1500 : 1000;
      card.slots = OneIn(3) ? 1 + Below(4) : 0;
      if (OneIn(8)) card.mode = CardMode::kExclusive;
    }
    return card;
  }
  NodeSpec Node(const std::string& name, int cards) {
    NodeSpec node;
    node.name = name;
    node.cpu_milli = 64'000;
    node.memory_mib = 256'000;
    static constexpr std::array<const char*, 4> kModels = {"T4", "A30", "P800", "C500"};
    const std::string model = kModels[static_cast<std::size_t>(Below(4))];
    for (int i = 0; i < cards; ++i) {
      node.cards.push_back(Card(OneIn(4) ? kModels[static_cast<std::size_t>(Below(4))] : model));
    }
    return node;
  }
  ContainerSpec Container(int most) {
    ContainerSpec c;
    c.gpus = 1 + Below(most);
    c.gpu_milli = OneIn(5) ? 1000 : 50 * (1 + Below(12));
    c.gpu_memory_mib = OneIn(3) ? 0 : 1000 * (1 + Below(12));
    if (OneIn(4)) c.gpu_memory_percent = 10 * (1 + Below(8));
    return c;
  }
  RequestSpec Pod(int containers, int most) {
    RequestSpec spec;
    spec.service_class = static_cast<ServiceClass>(Below(3));
    if (OneIn(4)) spec.memory_ratio_percent = 100 + 25 * Below(4);
    if (OneIn(2)) spec.qos = OneIn(2) ? "fixed" : "burst";
    if (containers == 0) {
      const ContainerSpec c = Container(most);
      spec.gpus = c.gpus;
      spec.gpu_milli = c.gpu_milli;
      spec.gpu_memory_mib = c.gpu_memory_mib;
      spec.gpu_memory_percent = c.gpu_memory_percent;
      if (OneIn(6)) {
        spec.gpu_milli = 1000;
        spec.passthrough = true;
      }
      return spec;
    }
    for (int i = 0; i < containers; ++i) {
      spec.containers.push_back(Container(most));
      spec.gpus += spec.containers.back().gpus;
    }
    return spec;
  }
};

// --- the slow, obvious node: cards as plain numbers, every assignment tried ---

struct PlainCard {
  std::string model;
  int milli = 0, total_milli = 0;
  long memory = 0, total = 0, physical = 0, guaranteed = 0;  // free; guaranteed: physical left
  int slots = 0, slices = 0;                                 // slots 0: no limit
  unsigned mig = 0;
  std::string qos;
  CardMode mode = CardMode::kShared;
};

struct PlainSlice {
  int container = 0;
  ContainerSpec ask;
};

// Every way to put one slice on the card; calls `then` with the card after it.
template <class Then>
bool Ways(const PlainCard& card, const ContainerSpec& ask, const RequestSpec& spec,
          const Then& then) {
  if (spec.passthrough != (card.mode == CardMode::kPassthrough)) return false;
  if (card.slices > 0 &&
      (card.mode == CardMode::kExclusive || card.mode == CardMode::kPassthrough)) {
    return false;
  }
  if (card.slots > 0 && card.slices >= card.slots) return false;
  const bool whole_ask = ask.gpu_milli == 1000;
  const int percent = whole_ask ? 100 : ask.gpu_memory_percent;
  PlainCard after = card;
  ++after.slices;
  if (card.mode == CardMode::kMig) {
    const CardRules rules = A30();
    const long need =
        std::max<long>(ask.gpu_memory_mib, rules.mig.back().memory_mib * percent / 100);
    for (const MigProfile& p : rules.mig) {
      if (p.memory_mib < need || p.compute_milli < ask.gpu_milli) continue;
      for (const int start : p.starts) {  // the smallest profile only: others are not its slice
        const unsigned mask = MigMask(p, start);
        if ((card.mig & mask) != 0) continue;
        if (card.milli < p.compute_milli || card.memory < p.memory_mib) continue;
        PlainCard cut = after;
        cut.mig |= mask;
        cut.milli -= p.compute_milli;
        cut.memory -= p.memory_mib;
        if (then(cut)) return true;
      }
      return false;
    }
    return false;
  }
  long memory = std::max<long>(ask.gpu_memory_mib, card.physical * percent / 100);
  int milli = ask.gpu_milli;
  bool whole = whole_ask;
  if (card.model == "P800") {
    const CardRules rules = Equal();
    const auto fits = std::find_if(
        rules.templates.begin(), rules.templates.end(),
        [&](const auto& t) { return t.memory_mib >= memory && t.compute_milli >= milli; });
    if (!whole && fits == rules.templates.end()) {
      if (memory > card.physical) return false;
      whole = true;
    }
    if (!whole) {
      memory = fits->memory_mib;
      milli = fits->compute_milli;
    }
  }
  if (card.model == "C500" && !whole) {
    const long rounded = (memory + 1023) / 1024 * 1024;
    memory = memory <= card.physical ? std::min(rounded, card.physical) : rounded;
  }
  if (whole) {
    if (milli > card.total_milli || ask.gpu_memory_mib > card.total) return false;
    milli = card.total_milli;
    memory = card.total;
  }
  if (card.milli < std::max(milli, 1) || card.memory < memory) return false;
  if (!whole && card.total != card.physical) {
    if (spec.memory_ratio_percent > 0 &&
        card.total - card.memory + memory > card.physical * spec.memory_ratio_percent / 100) {
      return false;
    }
    if (spec.service_class == ServiceClass::kGuaranteed && card.guaranteed < memory) return false;
  }
  if (card.slices > 0 && !whole) {
    if (card.model == "P800" && memory * card.slices != card.total - card.memory) return false;
    if (card.model == "C500" && card.qos != spec.qos) return false;
  }
  after.milli -= milli;
  after.memory -= memory;
  if (spec.service_class == ServiceClass::kGuaranteed) {
    after.guaranteed -= std::min(memory, card.physical);
  }
  if (card.slices == 0) after.qos = spec.qos;
  return then(after);
}

bool Fits(std::vector<PlainCard>& cards, const std::vector<PlainSlice>& slices,
          const RequestSpec& spec, std::size_t at, std::vector<std::pair<int, int>>& taken) {
  if (at == slices.size()) return true;
  for (std::size_t c = 0; c < cards.size(); ++c) {
    const std::pair<int, int> mine{slices[at].container, static_cast<int>(c)};
    if (cards[c].mode != CardMode::kMig &&
        std::find(taken.begin(), taken.end(), mine) != taken.end()) {
      continue;
    }
    const PlainCard before = cards[c];
    taken.push_back(mine);
    const bool found = Ways(before, slices[at].ask, spec, [&](const PlainCard& after) {
      cards[c] = after;
      return Fits(cards, slices, spec, at + 1, taken);
    });
    taken.pop_back();
    cards[c] = before;
    if (found) return true;
  }
  return false;
}

std::vector<PlainCard> PlainCards(const ClusterState& state, NodeId node) {
  std::vector<PlainCard> cards;
  for (int i = 0; i < state.hot(node).cards; ++i) {
    const CardState& card = state.card(node, i);
    PlainCard plain;
    plain.model = state.model_name(ModelId(std::uint32_t{card.model}));
    plain.milli = card.free_milli;
    plain.total_milli = card.compute_total;
    plain.memory = card.memory_free;
    plain.total = card.memory_total;
    plain.physical = card.memory_physical;
    plain.guaranteed = card.guaranteed_free;
    plain.slots = card.slots;
    plain.slices = card.slices;
    plain.mig = MigOccupied(card);
    plain.mode = card.mode;
    cards.push_back(plain);
  }
  return cards;
}

std::vector<PlainSlice> PlainSlices(const RequestSpec& spec) {
  std::vector<PlainSlice> slices;
  if (spec.containers.empty()) {
    ContainerSpec c;
    c.gpu_milli = spec.gpu_milli;
    c.gpu_memory_mib = spec.gpu_memory_mib;
    c.gpu_memory_percent = spec.gpu_memory_percent;
    for (int k = 0; k < spec.gpus; ++k) slices.push_back({0, c});
    return slices;
  }
  for (std::size_t i = 0; i < spec.containers.size(); ++i) {
    for (int k = 0; k < spec.containers[i].gpus; ++k) {
      slices.push_back({static_cast<int>(i), spec.containers[i]});
    }
  }
  return slices;
}

std::unique_ptr<Engine> MakeEngine(const std::string& policy) {
  EngineOptions options;
  options.audit_every = 1;
  auto engine = support::MakeEngine(policy, {}, options);
  for (const CardRules& rules : {A30(), Equal(), Qos()}) {
    EXPECT_TRUE(engine->Apply(CardRulesSet{rules}, SimTime{}).has_value());
  }
  return engine;
}

constexpr std::array<const char*, 4> kPolicies = {"binpack", "spread", "best-fit",
                                                  "binpack/spread"};

TEST(SlicesProperty, PlacedExactlyWhenSomeAssignmentExists) {
  int placed = 0;
  int refused = 0;
  for (int seed = 0; seed < support::Scaled(3000); ++seed) {
    Maker make(static_cast<std::uint64_t>(seed) + 90'000);
    auto engine = MakeEngine(kPolicies[static_cast<std::size_t>(seed) % kPolicies.size()]);
    ASSERT_TRUE(engine->Apply(NodeAdded{make.Node("n", 1 + make.Below(3))}, SimTime{}).has_value());
    const NodeId node = engine->state().FindNode("n");
    std::vector<std::pair<std::uint64_t, RequestSpec>> held;
    for (std::uint64_t step = 0; step < 12; ++step) {
      if (!held.empty() && make.OneIn(4)) {
        const auto at = static_cast<std::size_t>(make.Below(static_cast<int>(held.size())));
        ASSERT_TRUE(engine->Release(support::Uid(held[at].first), SimTime{}).has_value());
        held.erase(held.begin() + static_cast<std::ptrdiff_t>(at));
        continue;
      }
      RequestSpec spec = make.Pod(make.Below(3), 2);
      std::vector<PlainCard> cards = PlainCards(engine->state(), node);
      // All slices on a card of one QoS are of one class, so any of them tells it.
      for (const auto& [uid, other] : held) {
        for (const int c : engine->Find(support::Uid(uid))->cards) {
          cards[static_cast<std::size_t>(c)].qos = other.qos;
        }
      }
      std::vector<std::pair<int, int>> taken;
      const bool exists = Fits(cards, PlainSlices(spec), spec, 0, taken);
      const Outcome outcome = engine->Place(For(*engine, spec, step), SimTime{});
      ASSERT_EQ(outcome.placed(), exists)
          << "seed " << seed << " step " << step << ": " << Describe(spec) << "; "
          << engine->Explain(For(*engine, spec, 10'000 + step)).text;
      if (!exists) {
        ++refused;
        continue;
      }
      ++placed;
      held.emplace_back(step, spec);
    }
  }
  EXPECT_GT(placed, support::Scaled(4000));
  EXPECT_GT(refused, support::Scaled(4000));
}

// What each card holds by the allocations, and its limits, without the state's own columns.
void CheckLimits(const Engine& engine, NodeId node) {
  const ClusterState& state = engine.state();
  struct Sum {
    long milli = 0, memory = 0, guaranteed = 0, slices = 0;
    unsigned mig = 0;
    bool overlap = false, passthrough = false, shared = false;
  };
  std::array<Sum, 8> sums{};
  engine.ForEachOn(node, [&](const Allocation& a) {
    const RequestSpec& spec = state.shape(a.shape).spec;
    const auto add = [&](int card, long milli, long memory) {
      Sum& sum = sums[static_cast<std::size_t>(card)];
      sum.milli += milli;
      sum.memory += memory;
      if (spec.service_class == ServiceClass::kGuaranteed) {
        sum.guaranteed += std::min<long>(memory, state.card(node, card).memory_physical);
      }
      ++sum.slices;
      (spec.passthrough ? sum.passthrough : sum.shared) = true;
    };
    if (a.numa != nullptr) {
      for (const SliceTake& s : a.numa->slices) {
        add(s.card, s.milli, s.memory);
        if (s.mig_profile < 0) continue;
        const unsigned mask =
            MigMask(A30().mig[static_cast<std::size_t>(s.mig_profile)], s.mig_start);
        Sum& sum = sums[static_cast<std::size_t>(s.card)];
        sum.overlap = sum.overlap || (sum.mig & mask) != 0;
        sum.mig |= mask;
      }
      return;
    }
    for (const int c : a.cards) {
      const CardState& card = state.card(node, c);
      const long percent = long{card.memory_physical} * spec.gpu_memory_percent / 100;
      add(c, spec.gpu_milli, std::max<long>(spec.gpu_memory_mib, percent));
    }
  });
  for (int i = 0; i < state.hot(node).cards; ++i) {
    const CardState& card = state.card(node, i);
    const Sum& sum = sums[static_cast<std::size_t>(i)];
    ASSERT_LE(sum.milli, card.compute_total);
    ASSERT_LE(sum.memory, card.memory_total);
    ASSERT_LE(sum.guaranteed, card.memory_physical);
    ASSERT_FALSE(sum.overlap);
    ASSERT_LE(sum.mig, 0xFU);
    if (card.slots > 0) {
      ASSERT_LE(sum.slices, card.slots);
    }
    if (card.mode == CardMode::kExclusive || card.mode == CardMode::kPassthrough) {
      ASSERT_LE(sum.slices, 1);
    }
    ASSERT_TRUE(!sum.passthrough || card.mode == CardMode::kPassthrough);
    ASSERT_TRUE(!sum.shared || card.mode != CardMode::kPassthrough);
  }
}

TEST(SlicesProperty, NoCardIsEverOverItsLimitInAMillionSteps) {
  std::uint64_t steps = 0;
  std::uint64_t moves = 0;
  const auto wanted = static_cast<std::uint64_t>(support::Scaled(1'000'000));
  for (std::uint64_t seed = 0; steps < wanted; ++seed) {
    Maker make(seed + 500'000);
    auto engine = MakeEngine(kPolicies[seed % kPolicies.size()]);
    for (int n = 0; n < 3; ++n) {
      ASSERT_TRUE(
          engine->Apply(NodeAdded{make.Node("n" + std::to_string(n), 1 + make.Below(4))}, SimTime{})
              .has_value());
    }
    std::vector<RequestSpec> shapes;
    for (int i = 0; i < 24; ++i) shapes.push_back(make.Pod(make.Below(4), 3));
    std::vector<std::uint64_t> held;
    for (std::uint64_t step = 0; step < 20'000 && steps < wanted; ++step, ++steps) {
      const int what = make.Below(20);
      const NodeId node(static_cast<std::size_t>(make.Below(3)));
      const std::string name = engine->state().name(node);
      const int card = make.Below(engine->state().hot(node).cards);
      NodeId touched = node;
      if (what < 11) {
        const Request request =
            For(*engine, shapes[static_cast<std::size_t>(make.Below(24))], step + 1);
        const Outcome outcome = engine->Place(request, SimTime{static_cast<std::int64_t>(step)});
        if (outcome.placed()) {
          held.push_back(step + 1);
          touched = outcome.placement.node;
        }
      } else if (what < 18) {
        if (held.empty()) continue;
        const auto at = static_cast<std::size_t>(make.Below(static_cast<int>(held.size())));
        ASSERT_TRUE(engine->Release(support::Uid(held[at]), SimTime{}).has_value());
        held[at] = held.back();
        held.pop_back();
      } else if (what == 18) {
        ASSERT_TRUE(engine->Apply(CardCordoned{name, card, make.OneIn(2)}, SimTime{}).has_value());
      } else if (engine->state().card(node, card).mode != CardMode::kMig) {
        const bool empty = engine->state().card(node, card).slices == 0;
        const CardMode mode = make.OneIn(2) ? CardMode::kPassthrough : CardMode::kShared;
        const bool moved = engine->Apply(CardModeChanged{name, card, mode}, SimTime{}).has_value();
        ASSERT_EQ(moved, empty);
        moves += moved ? 1 : 0;
      }
      CheckLimits(*engine, touched);
      if (HasFatalFailure()) {
        FAIL() << "seed " << seed << " step " << step;
      }
      if (step % 1000 == 0) {
        ASSERT_TRUE(engine->Audit().has_value()) << engine->Audit().error().ToString();
        ASSERT_EQ(support::CheckDerived(engine->state()), "") << "seed " << seed;
      }
    }
  }
  EXPECT_GE(steps, wanted);
  EXPECT_GT(moves, wanted / 100);
}

}  // namespace
}  // namespace basalt
