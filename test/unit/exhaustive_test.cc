// Every cluster of at most 3 nodes x 4 cards, each card with 0, 460 or 1000 milli free and the CPU
// at two levels, up to the order of cards within a node and of nodes: the index against the scan
// for seven policies, and for fgd and best-fit against the formulas written out in test/support.
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "test/support/cluster.h"
#include "test/support/oracle.h"

namespace basalt {
namespace {

using support::Ask;
using support::For;
using support::MakeEngine;
using support::Node;

constexpr MilliCpu kCpu = 32'000;

struct NodeState {
  MilliCpu cpu_free;
  std::vector<MilliGpu> cards;  // free milli, ascending
};

std::vector<NodeState> AllNodeStates() {
  static constexpr std::array<MilliGpu, 3> kFree = {0, 460, 1000};
  std::vector<std::vector<MilliGpu>> sets = {{}};
  for (std::size_t begin = 0; begin < sets.size(); ++begin) {
    if (sets[begin].size() == 4) continue;
    const std::vector<MilliGpu> set = sets[begin];
    for (const MilliGpu free : kFree) {
      if (!set.empty() && free < set.back()) continue;
      sets.push_back(set);
      sets.back().push_back(free);
    }
  }
  std::vector<NodeState> out;
  for (const MilliCpu cpu : {MilliCpu{6000}, kCpu}) {
    for (const auto& cards : sets) out.push_back(NodeState{cpu, cards});
  }
  return out;
}

const std::vector<RequestSpec>& Shapes() {
  static const std::vector<RequestSpec> shapes = {Ask(4000), Ask(4000, 1, 460), Ask(8000, 1, 1000),
                                                  Ask(4000, 2, 1000), Ask(1000, 4, 1000)};
  return shapes;
}

void AddNode(Engine& engine, int number, const NodeState& node) {
  const std::string name(1, static_cast<char>('a' + number));
  ASSERT_TRUE(
      engine.Apply(NodeAdded{Node(name, kCpu, static_cast<int>(node.cards.size()))}, SimTime{})
          .has_value());
  const auto uid = static_cast<std::uint64_t>(number) * 10;
  if (node.cpu_free < kCpu) support::Observe(engine, name, Ask(kCpu - node.cpu_free), {}, uid);
  for (int c = 0; c < static_cast<int>(node.cards.size()); ++c) {
    const MilliGpu taken = kWholeCard - node.cards[static_cast<std::size_t>(c)];
    if (taken > 0) {
      support::Observe(engine, name, Ask(0, 1, taken), CardSet::Of(c),
                       uid + 1 + static_cast<std::uint64_t>(c));
    }
  }
}

std::vector<oracle::Class> OracleTarget() {
  std::vector<oracle::Class> out;
  const TargetWorkload target = support::SmallTarget();
  for (const TargetClass& c : target.classes()) {
    out.push_back({{c.spec.cpu_milli, 0, c.spec.gpus, c.spec.gpu_milli, {}}, c.weight});
  }
  return out;
}

class Exhaustive : public ::testing::TestWithParam<std::string> {};

TEST_P(Exhaustive, FastEqualsSlowEqualsFormula) {
  const std::vector<NodeState> states = AllNodeStates();
  ASSERT_EQ(states.size(), 70U);
  const std::vector<oracle::Class> target = OracleTarget();
  const ConfiguredPolicy policy = support::Policy(GetParam());
  std::int64_t clusters = 0;
  std::int64_t placed = 0;
  // A stride of 1 is every cluster; sanitizer runs take every tenth.
  const std::size_t stride = support::Scaled(100) >= 100 ? 1 : 10;
  const auto compare = [&](const std::vector<std::size_t>& chosen) {
    EngineOptions options;
    auto fast = MakeEngine(policy, {}, options);
    options.scan_every_node = true;
    auto slow = MakeEngine(policy, {}, options);
    std::vector<oracle::Node> plain;
    for (int n = 0; n < static_cast<int>(chosen.size()); ++n) {
      const NodeState& node = states[chosen[static_cast<std::size_t>(n)]];
      AddNode(*fast, n, node);
      AddNode(*slow, n, node);
      plain.push_back({node.cpu_free, 262'144, {node.cards.begin(), node.cards.end()}, "T4"});
    }
    ++clusters;
    for (std::size_t s = 0; s < Shapes().size(); ++s) {
      const RequestSpec& spec = Shapes()[s];
      const Outcome a = fast->Propose(For(*fast, spec, s), SimTime{});
      const Outcome b = slow->Propose(For(*slow, spec, s), SimTime{});
      ASSERT_EQ(a.kind, b.kind);
      ASSERT_EQ(a.placement.node, b.placement.node);
      ASSERT_EQ(a.placement.cards, b.placement.cards);
      ASSERT_EQ(a.placement.score, b.placement.score);
      placed += a.placed() ? 1 : 0;
      const oracle::Ask ask{spec.cpu_milli, 0, spec.gpus, spec.gpu_milli, {}};
      bool fits_somewhere = false;
      for (const oracle::Node& node : plain) fits_somewhere |= oracle::Fits(node, ask);
      ASSERT_EQ(a.placed(), fits_somewhere) << Describe(spec);
      if (GetParam() != "fgd" && GetParam() != "best-fit") continue;
      const oracle::Choice expected =
          GetParam() == "fgd" ? oracle::Fgd(plain, ask, target) : oracle::BestFit(plain, ask);
      if (expected.node < 0) continue;
      CardSet cards;
      for (const int card : expected.cards) cards.Add(card);
      ASSERT_EQ(a.placement.node.index(), static_cast<std::size_t>(expected.node))
          << Describe(spec);
      ASSERT_EQ(a.placement.score, expected.score) << Describe(spec);
      ASSERT_EQ(a.placement.cards, cards) << Describe(spec);
    }
  };
  std::size_t counter = 0;
  for (std::size_t i = 0; i < states.size(); ++i) {
    compare({i});
    for (std::size_t j = i; j < states.size(); ++j) {
      compare({i, j});
      for (std::size_t k = j; k < states.size(); ++k) {
        if (counter++ % stride == 0) compare({i, j, k});
        if (HasFatalFailure()) FAIL() << "cluster " << i << " " << j << " " << k;
      }
    }
  }
  if (stride == 1) {
    EXPECT_EQ(clusters, 70 + 2485 + 59'640);
  }
  EXPECT_GT(placed, clusters);  // the comparison is not about empty answers
}

std::string TestName(const ::testing::TestParamInfo<std::string>& param) {
  std::string name;
  for (const char c : param.param) name += c == '-' ? '_' : c;
  return name;
}

INSTANTIATE_TEST_SUITE_P(Policies, Exhaustive,
                         ::testing::Values("fgd", "best-fit", "binpack", "spread", "gpu-packing",
                                           "gpu-clustering", "dot-product"),
                         TestName);

}  // namespace
}  // namespace basalt
