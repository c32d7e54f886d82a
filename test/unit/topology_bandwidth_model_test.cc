// The bandwidth model against slow obvious versions: ring packings in exact fractions over all
// permutations, cuts over all bipartitions, host staging by its definition.
#include <gtest/gtest.h>

#include <chrono>
#include <set>

#include "test/unit/topology_bandwidth_test_util.h"

namespace basalt::topology {
namespace {

Eigen::MatrixXi RandomCapacities(Rng& rng, int n, int percent) {
  Eigen::MatrixXi c = Eigen::MatrixXi::Zero(n, n);
  for (int a = 0; a < n; ++a) {
    for (int b = 0; b < a; ++b) {
      if (rng.Below(100) >= static_cast<std::uint32_t>(percent)) continue;
      c(a, b) = c(b, a) = static_cast<int>(1 + rng.Below(4)) * 10'000;
    }
  }
  return c;
}

TEST(RingPacking, EqualsTheExactSimplexOverAllPermutations) {
  Rng rng(1);
  for (int round = 0; round < 400; ++round) {
    const int n = 2 + round % 5;
    const Eigen::MatrixXi c = RandomCapacities(rng, n, 40 + round % 7 * 10);
    EXPECT_EQ(RingPacking(c), std::llround(SlowRingPacking(c))) << c;
  }
}

TEST(RingPacking, KnownValues) {
  // Every card of a full mesh can send on all its links at once.
  for (int n = 2; n <= 8; ++n) {
    Eigen::MatrixXi c = Eigen::MatrixXi::Constant(n, n, 1000);
    c.diagonal().setZero();
    EXPECT_EQ(RingPacking(c), 1000 * (n - 1));
    EXPECT_EQ(SmallestCut(c), 1000 * (n - 1));
    EXPECT_EQ(
        static_cast<int>(HamiltonianCycles(c).size()), n < 3 ? 0 : [&] {
          int count = 1;
          for (int i = 3; i < n; ++i) count *= i;
          return count;
        }());
  }
  // Petersen-like trap: K2,3 has cuts of 2 but no ring.
  Eigen::MatrixXi c = Eigen::MatrixXi::Zero(5, 5);
  for (const int a : {0, 1}) {
    for (const int b : {2, 3, 4}) c(a, b) = c(b, a) = 1000;
  }
  EXPECT_EQ(RingPacking(c), 0);
  EXPECT_EQ(SmallestCut(c), 2000);
  // Half rings: a K4 whose best packing is not a whole number of rings a link.
  Eigen::MatrixXi k4 = Eigen::MatrixXi::Constant(4, 4, 1);
  k4.diagonal().setZero();
  EXPECT_EQ(RingPacking(k4), 3);
}

TEST(RingPacking, NeverOverTheCutAndTheSameForAnyOrder) {
  Rng rng(2);
  for (int round = 0; round < 300; ++round) {
    const int n = 3 + round % 6;
    const Eigen::MatrixXi c = RandomCapacities(rng, n, 70);
    EXPECT_EQ(SmallestCut(c), SlowCut(c)) << c;
    EXPECT_LE(RingPacking(c), SmallestCut(c)) << c;
    std::vector<int> order(static_cast<std::size_t>(n));
    std::iota(order.begin(), order.end(), 0);
    rng.Shuffle(std::span<int>(order));
    const Eigen::MatrixXi other = c(order, order);
    EXPECT_EQ(RingPacking(other), RingPacking(c)) << c;
  }
}

TEST(PcieCuts, EqualAllBipartitions) {
  Rng rng(3);
  int checked = 0;
  for (int round = 0; round < 60; ++round) {
    MachineGraph g = RandomGraph(rng, 2 + round % 5);
    if (g.vertices.size() > 12) continue;
    const std::vector<CardCut> cuts = PcieCuts(g);
    for (std::uint64_t mask = 3; mask <= All(g.cards()).bits(); ++mask) {
      const CardSet set(mask);
      if (set.size() < 2) continue;
      std::int64_t best = INT64_MAX;
      for (const CardCut& cut : cuts) {
        const std::uint64_t inside = cut.side.bits() & mask;
        if (inside != 0 && inside != mask) best = std::min(best, cut.mbps);
      }
      EXPECT_EQ(best, SlowPcieCut(g, set)) << FormatGraph(g) << " set " << mask;
      ++checked;
    }
  }
  EXPECT_GT(checked, 300);
}

// What bandwidth.h promises, set by set, without a table.
std::int64_t SlowBandwidth(const MachineGraph& g, CardSet set) {
  for (const bool by_size : {false, true}) {
    for (const MeasuredBandwidth& m : g.measured) {
      if (by_size ? m.cards.empty() && m.size == set.size() : m.cards == set) return m.mbps;
    }
  }
  std::int64_t best = 0;
  const Eigen::VectorXi switched = g.SwitchedFabric();
  std::int64_t least = INT64_MAX;
  for (const int c : set) least = std::min<std::int64_t>(least, switched(c));
  // Together on switches: some switch is reached by all over switches alone.
  const int n = static_cast<int>(g.vertices.size());
  for (int s = g.cards(); s < n; ++s) {
    std::vector<char> reached(g.vertices.size(), 0);
    if (g.vertices[static_cast<std::size_t>(s)].kind != VertexKind::kFabricSwitch) continue;
    reached[static_cast<std::size_t>(s)] = 1;
    for (int round = 0; round < n; ++round) {
      for (const Link& l : g.links) {
        if (l.kind != LinkKind::kFabric) continue;
        for (const auto& [from, to] : {std::pair(l.a, l.b), std::pair(l.b, l.a)}) {
          if (from >= g.cards() && reached[static_cast<std::size_t>(from)] != 0) {
            reached[static_cast<std::size_t>(to)] = 1;
          }
        }
      }
    }
    bool all = true;
    for (const int c : set) all = all && reached[static_cast<std::size_t>(c)] != 0;
    if (!all) continue;
    const bool whole = g.in_network_reduction && set == All(g.cards());
    const std::int64_t factor = !whole ? 1000 : (g.sm >= 100 ? 1160 : (g.sm >= 90 ? 1297 : 1000));
    best = std::max(best, (least * factor + 500) / 1000);
  }
  std::vector<int> rows;
  for (const int c : set) rows.push_back(c);
  const Eigen::MatrixXi part = g.DirectFabric()(rows, rows);
  best = std::max<std::int64_t>(best, std::llround(SlowRingPacking(part)));
  bool peers = true;
  for (const int a : set) {
    for (const int b : set) peers = peers && g.CanPeer(a, b);
  }
  const std::int64_t pcie = peers ? SlowPcieCut(g, set) : 0;
  if (pcie > 0) return std::max(best, pcie);
  // Host memory: fitted figures, and links above the cards shared by those below them.
  std::int64_t host = 35'000;
  std::map<int, int> by_numa;
  for (const int c : set) ++by_numa[g.vertices[static_cast<std::size_t>(c)].numa];
  for (const auto& [numa, count] : by_numa) host = std::min<std::int64_t>(host, 96'000 / count);
  return std::max(best, host);
}

TEST(SetBandwidth, EqualsTheSlowModelOnRandomMachines) {
  Rng rng(4);
  int checked = 0;
  for (int round = 0; round < 80; ++round) {
    MachineGraph g = RandomGraph(rng, 2 + round % 5);
    if (g.vertices.size() > 12) continue;
    // The slow version has no uplinks: make them wide where host memory is in question.
    for (Link& l : g.links) {
      if (l.kind == LinkKind::kPcie) l.mbps += 1'000'000;
    }
    const SetBandwidth model(g);
    const std::vector<std::int32_t> table = model.Table();
    for (std::uint64_t mask = 0; mask < table.size(); ++mask) {
      const CardSet set(mask);
      const std::int64_t expected = set.size() < 2 ? 0 : SlowBandwidth(g, set);
      EXPECT_EQ(table[mask], expected) << FormatGraph(g) << " set " << mask;
      EXPECT_EQ(model.Of(set), expected) << FormatGraph(g) << " set " << mask;
      ++checked;
    }
  }
  EXPECT_GT(checked, 500);
}

TEST(SetBandwidth, HostStagingSharesUplinks) {
  // nccl#1086: without peer-to-peer, cards of one switch are slower than cards far apart.
  const auto type = MustMake(MustParse(
      "4 p2p=none pcie=0+1-s0:24000,2+3-s1:24000,s0-n0:24000,s1-n1:24000 socket=n0-n1:10000"));
  EXPECT_EQ(type->Bandwidth(CardSet(0b0011)), 12'000);
  EXPECT_EQ(type->Bandwidth(CardSet(0b0101)), 24'000);
  EXPECT_EQ(type->BestSet(All(4), 2), CardSet(0b0101));
}

TEST(SetBandwidth, NoPeerToPeerNeverGetsAPeerFigure) {
  const std::string pcie = "pcie=0..3-n0:48000,4..7-n1:48000 socket=n0-n1:40000";
  EXPECT_EQ(MustMake(MustParse("8 " + pcie))->Best(2), 48'000);
  EXPECT_EQ(MustMake(MustParse("8 p2p=none " + pcie))->Best(2), 35'000);
  EXPECT_EQ(MustMake(MustParse("8 p2p-unknown=no " + pcie))->Best(2), 35'000);
  EXPECT_EQ(MustMake(MustParse("8 p2p-unknown=no p2p-yes=0-1 " + pcie))->Best(2), 48'000);
  const auto one_pair_less = MustMake(MustParse("8 p2p-no=0-7 " + pcie));
  EXPECT_EQ(one_pair_less->Bandwidth(CardSet(0b00001111)), 48'000);
  EXPECT_EQ(one_pair_less->Bandwidth(CardSet(0b10000001)), 35'000);
  EXPECT_EQ(one_pair_less->Bandwidth(All(8)), 24'000);
}

TEST(SetBandwidth, MeshesOfMoreThanEightCards) {
  // Sets over eight cards are cuts, and a full mesh is so symmetric that rings reach the cut.
  const auto mesh = MustMake(MustParse("12 link=0..11-0..11:10000"));
  for (int k = 2; k <= 12; ++k)
    EXPECT_EQ(mesh->Best(k), std::max(10'000 * (k - 1), k == 2 ? 35'000 : (k == 3 ? 32'000 : 0)));
  // Two meshes that are not joined: no ring over both.
  const auto two = MustMake(MustParse("16 link=0..7-0..7:10000,8..15-8..15:10000"));
  EXPECT_EQ(two->Best(8), 70'000);
  EXPECT_EQ(two->Best(9), 96'000 / 9);
  // One link more joins them, and still there is no ring; two do.
  const std::string joined = "10 link=0..4-0..4:50000,5..9-5..9:50000,0-5:1000";
  EXPECT_EQ(MustMake(MustParse(joined + " measured=k2:1"))->Bandwidth(All(10)), 9'600);
  EXPECT_EQ(MustMake(MustParse(joined + ",1-6:11000"))->Bandwidth(All(10)), 12'000);
}

TEST(SetBandwidth, MoreThanSixteenCards) {
  const auto type = MustMake(MustParse("36 sm=90 link=0..35-f0:nv18 nvls"));
  EXPECT_EQ(type->Best(2), 370'800);
  EXPECT_EQ(type->Best(35), 370'800);
  EXPECT_EQ(type->Best(36), 480'928);
  EXPECT_EQ(type->Best(37), 0);
  EXPECT_EQ(type->BestSet(CardSet(0xFF0), 3), CardSet(0x070));
  EXPECT_EQ(type->Copies(CardSet(0xFF0), 3, 370'800), 2);
  EXPECT_EQ(type->Copies(CardSet(0xFF0), 3, 370'801), 0);
  EXPECT_EQ(type->Intact(4, CardSet(0xFF0)), 2);
  EXPECT_TRUE(type->KeepRemainder(CardSet(0xFF0), 2, 400'000).empty());
  EXPECT_TRUE(type->BestSet(CardSet(0xFF0), 9).empty());
  const auto all = MustMake(MustParse("64 link=0..63-0..63:1000"));
  EXPECT_EQ(all->Bandwidth(All(64)), 63'000);
}

TEST(SetBandwidth, BuildsWithinItsTime) {
  // The measured times are a tenth of these limits; they are for sanitizers and busy machines.
  Rng rng(7);
  const auto random_mesh = [&](int n) {
    std::string text = std::to_string(n) + " link=";
    for (int b = 1; b < n; ++b) {
      for (int a = 0; a < b; ++a) {
        text += (text.back() == '=' ? "" : ",") + std::to_string(a) + "-" + std::to_string(b) +
                ":" + std::to_string(5000 + rng.Below(45'000));
      }
    }
    return text;
  };
  for (const auto& [text, seconds] :
       {std::pair(random_mesh(8), 2.0), {random_mesh(10), 4.0}, {random_mesh(16), 8.0}}) {
    const MachineGraph g = MustParse(text);
    const auto start = std::chrono::steady_clock::now();
    MustMake(g);
    EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
              seconds);
  }
}

TEST(AcrossNodes, SmallerOfNodeAndNics) {
  EXPECT_EQ(AcrossNodes(240'000, 8 * 25'000), 192'000);  // nccl#812: 192
  EXPECT_EQ(AcrossNodes(240'000, 4 * 25'000), 96'000);   // nccl-tests#119: 96 at its peak
  EXPECT_EQ(AcrossNodes(721'800, 4 * 50'000), 192'000);  // nccl#1801: 196.8
  EXPECT_EQ(AcrossNodes(20'000, 8 * 25'000), 20'000);
  EXPECT_EQ(AcrossNodes(2'000'000'000, 2'000'000'000), 1'920'000'000);
}

TEST(MachineType, RefusesWhatIsNoMachine) {
  EXPECT_FALSE(MachineType::Make(MachineGraph()));
  MachineGraph g = MustParse("2 link=0-1:1000");
  g.links[0].b = 7;
  EXPECT_FALSE(MachineType::Make(g));
}

}  // namespace
}  // namespace basalt::topology
