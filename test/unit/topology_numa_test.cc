#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <chrono>
#include <optional>
#include <random>

#include "topology/numa.h"

namespace basalt::topology {
namespace {

using Amounts = std::vector<NumaAmounts>;
constexpr NumaPolicy kAll[] = {NumaPolicy::kNone, NumaPolicy::kBestEffort, NumaPolicy::kRestricted,
                               NumaPolicy::kSingleNumaNode};

NumaAmounts Cards(int n) { return {.cards = static_cast<std::int16_t>(n)}; }

// ---- The oracle: kubelet's algorithm as it is written, every combination of hints ----

struct Hint {
  unsigned set = 0;  // 0: any (nil in kubelet)
  bool preferred = false;
};
using Hints = std::vector<Hint>;

std::int64_t Get(const NumaAmounts& a, int resource) {
  return resource == 0 ? a.cpu : resource == 1 ? a.memory : resource == 2 ? a.cards : a.nics;
}

// One list of hints a demanded resource (devicemanager's generateDeviceTopologyHints).
std::vector<Hints> Providers(const Amounts& installed, const Amounts& free,
                             const NumaAmounts& demand) {
  std::vector<Hints> out;
  for (int r = 0; r < 4; ++r) {
    const std::int64_t need = Get(demand, r);
    if (need == 0) continue;
    int least = static_cast<int>(installed.size());
    Hints hints;
    for (unsigned set = 1; set < 1U << installed.size(); ++set) {
      std::int64_t has = 0;
      std::int64_t has_free = 0;
      for (std::size_t i = 0; i < installed.size(); ++i) {
        if (((set >> i) & 1) == 0) continue;
        has += Get(installed[i], r);
        has_free += Get(free[i], r);
      }
      if (has >= need) least = std::min(least, std::popcount(set));
      if (has_free >= need) hints.push_back({set, false});
    }
    for (Hint& hint : hints) hint.preferred = std::popcount(hint.set) == least;
    if (hints.empty()) hints.push_back({0, false});
    out.push_back(std::move(hints));
  }
  return out;
}

bool Narrower(unsigned a, unsigned b) {
  return std::popcount(a) != std::popcount(b) ? std::popcount(a) < std::popcount(b) : a < b;
}

// HintMerger.compare, case by case.
bool Replaces(const Hint& now, const Hint& candidate, int best_count) {
  if (now.preferred != candidate.preferred) return candidate.preferred;
  const int a = std::popcount(now.set);
  const int b = std::popcount(candidate.set);
  if (now.preferred || a > best_count) return Narrower(candidate.set, now.set);
  if (a == best_count) return b == best_count && Narrower(candidate.set, now.set);
  if (b > best_count) return false;
  if (b == best_count || b > a) return true;
  return b == a && Narrower(candidate.set, now.set);
}

std::optional<Hint> Merge(const std::vector<Hints>& providers, unsigned all) {
  int best_count = 0;
  for (const Hints& hints : providers) {
    int least = 0;
    for (const Hint& hint : hints) {
      if (hint.set == 0) continue;
      if (least == 0 || std::popcount(hint.set) < least) least = std::popcount(hint.set);
    }
    best_count = std::max(best_count, least);
    if (hints.empty()) return std::nullopt;
  }
  std::optional<Hint> best;
  std::vector<std::size_t> at(providers.size());
  while (true) {
    Hint merged{all, true};
    unsigned first = 0;
    for (std::size_t p = 0; p < providers.size(); ++p) {
      const Hint& hint = providers[p][at[p]];
      if (!hint.preferred) merged.preferred = false;
      if (hint.set == 0) continue;
      if (first == 0) first = hint.set;
      if (hint.set != first) merged.preferred = false;
      merged.set &= hint.set;
    }
    if (merged.set != 0 && (!best || Replaces(*best, merged, best_count))) best = merged;
    std::size_t p = 0;
    while (p < at.size() && ++at[p] == providers[p].size()) at[p++] = 0;
    if (p == at.size()) return best;
  }
}

NumaDecision Oracle(NumaPolicy policy, const Amounts& installed, const Amounts& free,
                    const NumaAmounts& demand) {
  if (policy == NumaPolicy::kNone) return {true, false, 0};
  std::vector<Hints> providers = Providers(installed, free, demand);
  if (providers.empty()) return {true, true, 0};
  bool any = false;
  for (Hints& hints : providers) {
    if (policy == NumaPolicy::kSingleNumaNode) {
      std::erase_if(hints, [](const Hint& h) { return !h.preferred || std::popcount(h.set) > 1; });
    }
    for (const Hint& hint : hints) any = any || hint.set != 0;
  }
  const std::optional<Hint> best = Merge(providers, (1U << installed.size()) - 1);
  const bool preferred = best && best->preferred;
  if (policy != NumaPolicy::kBestEffort && !preferred) return {false, false, 0};
  // Where no provider names a set, kubelet's answer is "all of them, not preferred": ours is 0.
  return {true, preferred, static_cast<NumaSet>(best && any ? best->set : 0)};
}

std::string Show(NumaPolicy policy, const Amounts& installed, const Amounts& free,
                 const NumaAmounts& demand) {
  std::string out(NumaPolicyName(policy));
  const auto add = [&out](const NumaAmounts& a) {
    for (int r = 0; r < 4; ++r) out += (r == 0 ? " " : ",") + std::to_string(Get(a, r));
  };
  out += " installed";
  for (const NumaAmounts& a : installed) add(a);
  out += " free";
  for (const NumaAmounts& a : free) add(a);
  out += " demand";
  add(demand);
  return out;
}

void ExpectSame(const Amounts& installed, const Amounts& free, const NumaAmounts& demand) {
  for (const NumaPolicy policy : kAll) {
    const NumaDecision got = Align(policy, installed, free, demand);
    const NumaDecision want = Oracle(policy, installed, free, demand);
    ASSERT_TRUE(got.admitted == want.admitted && got.preferred == want.preferred &&
                got.nodes == want.nodes)
        << Show(policy, installed, free, demand) << "\n got " << got.admitted << got.preferred
        << " " << int{got.nodes} << " want " << want.admitted << want.preferred << " "
        << int{want.nodes};
  }
}

// Every installed and free amount of cards and of NICs up to `most` a NUMA node, every demand.
void Exhaustive(int numa_nodes, int most, int most_demand) {
  std::vector<std::pair<int, int>> pairs;  // installed, free
  for (int i = 0; i <= most; ++i) {
    for (int f = 0; f <= i; ++f) pairs.emplace_back(i, f);
  }
  const std::size_t digits = static_cast<std::size_t>(numa_nodes) * 2;
  std::vector<std::size_t> at(digits);
  Amounts installed(static_cast<std::size_t>(numa_nodes));
  Amounts free(installed);
  while (true) {
    for (std::size_t i = 0; i < installed.size(); ++i) {
      installed[i].cards = static_cast<std::int16_t>(pairs[at[i * 2]].first);
      free[i].cards = static_cast<std::int16_t>(pairs[at[i * 2]].second);
      installed[i].nics = static_cast<std::int16_t>(pairs[at[i * 2 + 1]].first);
      free[i].nics = static_cast<std::int16_t>(pairs[at[i * 2 + 1]].second);
    }
    for (std::int16_t cards = 0; cards <= most_demand; ++cards) {
      for (std::int16_t nics = 0; nics <= most_demand; ++nics) {
        ExpectSame(installed, free, {.cards = cards, .nics = nics});
        if (testing::Test::HasFatalFailure()) return;
      }
    }
    std::size_t d = 0;
    while (d < digits && ++at[d] == pairs.size()) at[d++] = 0;
    if (d == digits) return;
  }
}

TEST(NumaAlign, SameAsKubeletExhaustivelyOnOneTwoAndThreeNumaNodes) {
  Exhaustive(1, 3, 4);
  Exhaustive(2, 3, 7);
  Exhaustive(3, 1, 4);
}

TEST(NumaAlign, SameAsKubeletOnRandomMachinesOfUpToEightNumaNodes) {
  std::mt19937 random(7);
  const auto upto = [&random](int n) { return static_cast<int>(random() % (unsigned(n) + 1)); };
  int compared = 0;
  for (int trial = 0; trial < 60000; ++trial) {
    const auto n = static_cast<std::size_t>(1 + upto(7));
    Amounts installed(n);
    Amounts free(n);
    for (std::size_t i = 0; i < n; ++i) {
      installed[i] = {upto(4), upto(4), static_cast<std::int16_t>(upto(4)),
                      static_cast<std::int16_t>(upto(4))};
      free[i] = {upto(installed[i].cpu), upto(installed[i].memory),
                 static_cast<std::int16_t>(upto(installed[i].cards)),
                 static_cast<std::int16_t>(upto(installed[i].nics))};
    }
    const int top = static_cast<int>(n) * 3;
    const NumaAmounts demand = {upto(1) * upto(top), upto(1) * upto(top),
                                static_cast<std::int16_t>(upto(1) * upto(top)),
                                static_cast<std::int16_t>(upto(1) * upto(top))};
    double product = 1;
    for (const Hints& hints : Providers(installed, free, demand)) {
      product *= static_cast<double>(hints.size());
    }
    if (product > 20000) continue;  // for the oracle's sake
    ++compared;
    ExpectSame(installed, free, demand);
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(compared, 40000);
}

// Cases of kubelet's policy_test.go: bestNonPreferredAffinityCount keeps a wide demand whole.
TEST(NumaAlign, BestEffortPrefersTheWidthOfTheWidestNeed) {
  // 6 cards need both NUMA nodes, 1 NIC needs one: narrowest would name one, which has 4 cards.
  const Amounts machine = {{.cards = 4, .nics = 1}, {.cards = 4, .nics = 1}};
  const NumaDecision d = Align(NumaPolicy::kBestEffort, machine, machine, {.cards = 6, .nics = 1});
  EXPECT_TRUE(d.admitted);
  EXPECT_FALSE(d.preferred);
  EXPECT_EQ(d.nodes, 0b11);
}

TEST(NumaAlign, AsksNothingOfResourcesThatAreNotDemanded) {
  const Amounts machine = {{.cpu = 8000, .cards = 4}, {.cpu = 8000, .cards = 4}};
  Amounts free = machine;
  free[0].cpu = 0;
  EXPECT_EQ(Align(NumaPolicy::kSingleNumaNode, machine, free, Cards(4)).nodes, 0b01);
  EXPECT_EQ(Align(NumaPolicy::kSingleNumaNode, machine, free, {.cpu = 1000, .cards = 4}).nodes,
            0b10);
  for (const NumaPolicy policy : kAll) {
    EXPECT_TRUE(Align(policy, machine, free, {}).admitted);
    EXPECT_EQ(Align(policy, machine, free, {}).nodes, 0);
  }
}

TEST(NumaAlign, WithoutNumaNodesOnlyPoliciesThatAlwaysAdmitDo) {
  EXPECT_TRUE(Align(NumaPolicy::kNone, {}, {}, Cards(1)).admitted);
  EXPECT_TRUE(Align(NumaPolicy::kBestEffort, {}, {}, Cards(1)).admitted);
  EXPECT_FALSE(Align(NumaPolicy::kRestricted, {}, {}, Cards(1)).admitted);
  EXPECT_FALSE(Align(NumaPolicy::kSingleNumaNode, {}, {}, Cards(1)).admitted);
}

// ---- pytorch/ci-infra#696: 4-card jobs starve while 4 cards are free ----

const Amounts kTwoSockets = {Cards(4), Cards(4)};

TEST(NumaScenario, FourFreeCardsSplitOverSocketsAreNoFour) {
  const Amounts split = {Cards(2), Cards(2)};
  const Amounts job = {Cards(4)};
  const NumaPlan refused =
      PlanPod(NumaPolicy::kSingleNumaNode, NumaScope::kPod, kTwoSockets, split, job);
  EXPECT_FALSE(refused.admitted);
  EXPECT_EQ(refused.reason, "single-numa-node: 4 cards need 1 NUMA node, free cards are 2+2");
  EXPECT_EQ(PlanPod(NumaPolicy::kRestricted, NumaScope::kPod, kTwoSockets, split, job).reason,
            "restricted: 4 cards need 1 NUMA node, free cards are 2+2");
  // The same cards taken by the same pods, but on one socket.
  const Amounts together = {Cards(0), Cards(4)};
  const NumaPlan plan =
      PlanPod(NumaPolicy::kSingleNumaNode, NumaScope::kPod, kTwoSockets, together, job);
  EXPECT_TRUE(plan.admitted);
  EXPECT_EQ(plan.decisions[0].nodes, 0b10);
  EXPECT_EQ(plan.division[0], (Amounts{Cards(0), Cards(4)}));
  // best-effort takes the split ones, and says that they are not aligned.
  const NumaPlan split_plan =
      PlanPod(NumaPolicy::kBestEffort, NumaScope::kPod, kTwoSockets, split, job);
  EXPECT_TRUE(split_plan.admitted);
  EXPECT_FALSE(split_plan.decisions[0].preferred);
  EXPECT_EQ(split_plan.division[0], (Amounts{Cards(2), Cards(2)}));
}

// 1- and 2-card pods one after another: where each lands decides whether a 4-card job fits.
TEST(NumaScenario, SmallPodsKeptOnOneSocketLeaveRoomForFour) {
  const auto fits_four = [](const std::vector<std::pair<int, std::size_t>>& pods) {
    Amounts free = kTwoSockets;
    for (const auto& [cards, socket] : pods) {
      free[socket].cards = static_cast<std::int16_t>(free[socket].cards - cards);
    }
    return Align(NumaPolicy::kSingleNumaNode, kTwoSockets, free, Cards(4)).admitted;
  };
  EXPECT_TRUE(fits_four({{1, 0}, {2, 0}, {1, 0}}));
  EXPECT_FALSE(fits_four({{1, 0}, {2, 1}, {1, 0}}));
  EXPECT_FALSE(fits_four({{1, 0}, {1, 1}}));
}

TEST(NumaScenario, AnotherCardInTheMachineCanMakeRestrictedRefuse) {
  // 3 cards a socket: 4 cards need both sockets, and 2+2 is as good as it gets.
  const Amounts free = {Cards(2), Cards(2)};
  const Amounts three = {Cards(3), Cards(3)};
  EXPECT_TRUE(Align(NumaPolicy::kRestricted, three, free, Cards(4)).admitted);
  // A fourth card in socket 0, in use or not: now one socket would do, and both are too many.
  const Amounts four = {Cards(4), Cards(3)};
  EXPECT_FALSE(Align(NumaPolicy::kRestricted, four, free, Cards(4)).admitted);
  const Amounts one_more_free = {Cards(3), Cards(2)};
  EXPECT_FALSE(Align(NumaPolicy::kRestricted, four, one_more_free, Cards(4)).admitted);
}

// ---- Divide, PlanPod ----

TEST(NumaDivide, TakesFromNamedNodesInOrderThenFromOthers) {
  const Amounts free = {Cards(2), Cards(1), Cards(4)};
  EXPECT_EQ(Divide(free, 0b110, Cards(3)), (Amounts{Cards(0), Cards(1), Cards(2)}));
  EXPECT_EQ(Divide(free, 0b010, Cards(4)), (Amounts{Cards(2), Cards(1), Cards(1)}));
  EXPECT_EQ(Divide(free, 0, Cards(3)), (Amounts{Cards(2), Cards(1), Cards(0)}));
  EXPECT_THAT(Divide(free, 0b111, Cards(8)), testing::IsEmpty());
  EXPECT_EQ(Divide(free, 0b111, {}), Amounts(3));
}

TEST(NumaDivide, EveryAdmittedAlignedDemandFitsInsideItsSet) {
  std::mt19937 random(3);
  const auto upto = [&random](int n) {
    return static_cast<std::int16_t>(random() % unsigned(n + 1));
  };
  for (int trial = 0; trial < 20000; ++trial) {
    Amounts installed(static_cast<std::size_t>(1 + upto(3)));
    Amounts free(installed.size());
    for (std::size_t i = 0; i < free.size(); ++i) {
      installed[i] = {.cpu = upto(6), .cards = upto(4)};
      free[i] = {.cpu = upto(installed[i].cpu), .cards = upto(installed[i].cards)};
    }
    const NumaAmounts demand = {.cpu = upto(9), .cards = upto(6)};
    const NumaDecision d = Align(NumaPolicy::kRestricted, installed, free, demand);
    if (!d.admitted || d.nodes == 0) continue;
    const Amounts parts = Divide(free, d.nodes, demand);
    ASSERT_EQ(parts.size(), free.size());
    NumaAmounts sum;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      ASSERT_LE(parts[i].cards, free[i].cards);
      ASSERT_LE(parts[i].cpu, free[i].cpu);
      const bool named = ((d.nodes >> i) & 1) != 0;
      ASSERT_TRUE(named || parts[i] == NumaAmounts{});
      sum.cpu += parts[i].cpu;
      sum.cards = static_cast<std::int16_t>(sum.cards + parts[i].cards);
    }
    ASSERT_EQ(sum, demand);
  }
}

TEST(NumaPlanPod, ContainersOneByOneOrThePodAsOne) {
  const Amounts pod = {Cards(3), Cards(3)};
  const NumaPlan each =
      PlanPod(NumaPolicy::kSingleNumaNode, NumaScope::kContainer, kTwoSockets, kTwoSockets, pod);
  ASSERT_TRUE(each.admitted) << each.reason;
  EXPECT_EQ(each.decisions[0].nodes, 0b01);
  EXPECT_EQ(each.decisions[1].nodes, 0b10);
  const NumaPlan whole =
      PlanPod(NumaPolicy::kSingleNumaNode, NumaScope::kPod, kTwoSockets, kTwoSockets, pod);
  EXPECT_FALSE(whole.admitted);
  EXPECT_EQ(whole.decisions.size(), 1U);
  EXPECT_EQ(whole.reason, "single-numa-node: 6 cards need 2 NUMA nodes, installed cards are 4+4");
  const Amounts three = {Cards(3), Cards(3), Cards(2)};
  const NumaPlan late =
      PlanPod(NumaPolicy::kRestricted, NumaScope::kContainer, kTwoSockets, kTwoSockets, three);
  EXPECT_FALSE(late.admitted);
  EXPECT_EQ(late.division.size(), 2U);
  EXPECT_EQ(late.reason,
            "container 3 of 3: restricted: 2 cards need 1 NUMA node, free cards are 1+1");
}

TEST(NumaPlanPod, ReasonsNameWhatIsMissing) {
  const Amounts machine = {{.cpu = 16000, .memory = 1024, .cards = 4},
                           {.cpu = 16000, .memory = 1024, .cards = 4}};
  const auto reason = [&machine](NumaPolicy policy, const Amounts& free, const NumaAmounts& want) {
    const NumaPlan plan = PlanPod(policy, NumaScope::kPod, machine, free, std::span(&want, 1));
    EXPECT_FALSE(plan.admitted);
    return plan.reason;
  };
  for (const NumaPolicy policy : kAll) {
    EXPECT_EQ(reason(policy, {Cards(1), Cards(0)}, Cards(2)),
              std::string(NumaPolicyName(policy)) + ": 2 cards asked for, free cards are 1+0");
  }
  EXPECT_EQ(
      reason(NumaPolicy::kSingleNumaNode, {{.cpu = 1500, .cards = 4}, {.cpu = 16000, .cards = 0}},
             {.cpu = 8000, .cards = 2}),
      "single-numa-node: no set of NUMA nodes suits all of 2 cards, 8 CPUs; free cards are "
      "4+0, CPUs are 1.5+16");
  EXPECT_EQ(reason(NumaPolicy::kRestricted, machine, {.memory = 512, .cards = 6}),
            "restricted: no set of NUMA nodes suits all of 6 cards (2 NUMA nodes), 512 MiB (1 NUMA "
            "node); free cards are 4+4, MiB are 1024+1024");
}

TEST(NumaNames, RoundTripAndSuggest) {
  for (const NumaPolicy policy : kAll) {
    EXPECT_EQ(*ParseNumaPolicy(NumaPolicyName(policy)), policy);
  }
  for (const NumaScope scope : {NumaScope::kContainer, NumaScope::kPod}) {
    EXPECT_EQ(*ParseNumaScope(NumaScopeName(scope)), scope);
  }
  EXPECT_THAT(ParseNumaPolicy("single-numa").error().ToString(),
              testing::HasSubstr("did you mean \"single-numa-node\"?"));
  EXPECT_FALSE(ParseNumaScope("node"));
}

// What the engine pays for each candidate node. Measured, not judged: tests run on busy machines.
TEST(NumaAlign, CostOnTwoNumaNodes) {
  const Amounts machine = {{64000, 500000, 4, 4}, {64000, 500000, 4, 4}};
  const Amounts free = {{30000, 200000, 2, 3}, {20000, 300000, 4, 1}};
  unsigned sum = 0;
  for (const NumaPolicy policy : kAll) {
    constexpr int kRuns = 1'000'000;
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kRuns; ++i) {
      const auto cards = static_cast<std::int16_t>(1 + (i & 3));
      sum += Align(policy, machine, free, {8000 * cards, 50000 * cards, cards, 1}).nodes;
    }
    const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - start;
    RecordProperty(std::string("ns_") + std::string(NumaPolicyName(policy)),
                   static_cast<int>(spent.count() / kRuns));
    std::printf("%s %.1f ns\n", std::string(NumaPolicyName(policy)).c_str(), spent.count() / kRuns);
  }
  EXPECT_GT(sum, 0U);
}

}  // namespace
}  // namespace basalt::topology
