// The replay of gangs and of jobs whose speed depends on their wiring; EASY backfill.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "sim/backfill.h"
#include "sim/simulator.h"
#include "test/support/cluster.h"
#include "test/support/workloads.h"
#include "topology/files/catalog.h"
#include "topology/synthetic.h"

namespace basalt::sim {
namespace {

using support::Ask;
using support::MakeToy;
using support::Node;
using support::Pod;
using support::Policy;

trace::Node Machine(const std::string& id, int cards, const std::string& domains = "",
                    const std::string& machine = "") {
  trace::Node node;
  node.id = id;
  node.gpu_count = cards;
  node.model = "GPU";
  node.cpu_milli = 64'000;
  node.memory_mib = 65'536;
  node.domains = domains;
  node.topology = machine;
  return node;
}

struct Rows {
  std::vector<trace::Job> jobs;
  std::vector<trace::Task> tasks;
  void Add(double submit_s, double duration_s, int replicas, int cards, int gang_min = 0,
           const std::string& required = "", int comm_milli = -1) {
    trace::Job job;
    job.id = fmt::format("j{}", jobs.size());
    job.submit_us = static_cast<std::int64_t>(submit_s * 1e6);
    job.duration_us = static_cast<std::int64_t>(duration_s * 1e6);
    job.required_tier = required;
    job.comm_milli = comm_milli;
    trace::Task task;
    task.job_id = job.id;
    task.task = "worker";
    task.replicas = replicas;
    task.gang_min = gang_min > 0 ? gang_min : -1;
    task.gpu_num = cards;
    task.gpu_milli = kWholeCard;
    jobs.push_back(job);
    tasks.push_back(task);
  }
};

Workload Make(const std::vector<trace::Node>& nodes, const Rows& rows) {
  auto cluster = NodesFromTrace(nodes);
  EXPECT_TRUE(cluster.has_value()) << cluster.error().ToString();
  auto workload = MakeWorkload("toy", std::move(*cluster), rows.jobs, rows.tasks);
  EXPECT_TRUE(workload.has_value()) << workload.error().ToString();
  return std::move(*workload);
}

RunResult Simulate(const Workload& workload, ReplayOptions options,
                   const char* policy = "binpack/topology") {
  options.points = 10;
  RunOptions run;
  run.audit_every = 1;
  const auto result = RunReplay(workload, Policy(policy), 1, options, run);
  EXPECT_TRUE(result.has_value());
  return *result;
}

// A holds half the cluster until 10; the gang wants all of it and starts as a whole when A ends.
TEST(ReplayGangs, AGangWaitsForAllItsMembers) {
  Rows rows;
  rows.Add(0, 10, 1, 2);
  rows.Add(1, 5, 2, 2, 2);
  rows.Add(2, 1, 1, 1);
  const Workload workload = Make({Machine("a", 2), Machine("b", 2)}, rows);
  ASSERT_EQ(workload.gangs.size(), 1U);
  const RunResult fifo = Simulate(workload, {});
  EXPECT_EQ(fifo.gangs, 1);
  EXPECT_DOUBLE_EQ(fifo.gang_wait.mean, 9);
  EXPECT_DOUBLE_EQ(fifo.wait.max, 13);  // the small one waits behind the gang, to 15
  EXPECT_EQ(fifo.placed, 4);
  EXPECT_EQ(fifo.failed, 0);
}

TEST(ReplayGangs, AGangThatCannotBeIsRefusedWithItsCertificate) {
  Rows rows;
  rows.Add(0, 5, 2, 2, 2, "rack");
  rows.Add(1, 5, 1, 2);
  const Workload workload =
      Make({Machine("a", 2, "rack=r1;zone=z"), Machine("b", 2, "rack=r2;zone=z")}, rows);
  const RunResult result = Simulate(workload, {});
  EXPECT_EQ(result.placed, 1);
  EXPECT_EQ(result.failed, 2);
  ASSERT_EQ(result.failed_shapes.size(), 1U);
  EXPECT_EQ(result.failed_shapes[0].shape, "gang of 2, first j0");
  EXPECT_NE(result.failed_shapes[0].reason.find("2 places"), std::string::npos)
      << result.failed_shapes[0].reason;
  EXPECT_NE(result.failed_shapes[0].reason.find("rack"), std::string::npos)
      << result.failed_shapes[0].reason;
}

TEST(ReplayGangs, AnUnknownLevelIsAnError) {
  Rows rows;
  rows.Add(0, 5, 2, 2, 2, "rak");
  auto cluster = NodesFromTrace({Machine("a", 2, "rack=r1")});
  ASSERT_TRUE(cluster.has_value());
  const auto workload = MakeWorkload("toy", std::move(*cluster), rows.jobs, rows.tasks);
  ASSERT_FALSE(workload.has_value());
  EXPECT_NE(workload.error().ToString().find("did you mean \"rack\"?"), std::string::npos)
      << workload.error().ToString();
}

// Four cards. A: 3 of them to 10. B, the head, wants 4. C (1 card, 5 s) ends before 10 and may
// pass; D (1 card, 20 s) would keep B waiting and may not.
TEST(Easy, OnlyThoseThatDoNotDelayTheHeadPass) {
  Rows rows;
  rows.Add(0, 10, 1, 3);
  rows.Add(1, 5, 1, 4);
  rows.Add(2, 20, 1, 1);
  rows.Add(3, 5, 1, 1);
  const Workload workload = Make({Machine("a", 4)}, rows);
  ReplayOptions easy;
  easy.queue = QueueOrder::kEasy;
  const RunResult result = Simulate(workload, easy);
  EXPECT_EQ(result.backfilled, 1);
  // A 0, B at 10 (waits 9), D at 15 (waits 13), C at 3 (waits 0).
  EXPECT_DOUBLE_EQ(result.wait.mean, (0 + 9 + 13 + 0) / 4.0);
  EXPECT_DOUBLE_EQ(result.wait.max, 13);
}

// The head cannot use node b, so a long job may have it at once.
TEST(Easy, CardsThatTheHeadCannotUseAreFree) {
  Rows rows;
  rows.Add(0, 10, 1, 4);
  rows.Add(1, 5, 1, 4);
  rows.Add(2, 50, 1, 2);
  const Workload workload = Make({Machine("a", 4), Machine("b", 2)}, rows);
  ReplayOptions easy;
  easy.queue = QueueOrder::kEasy;
  const RunResult result = Simulate(workload, easy);
  EXPECT_EQ(result.backfilled, 1);
  EXPECT_DOUBLE_EQ(result.wait.max, 9);
}

// By hand: 2 nodes of 4 cards, 1 free on each; jobs of 2 and 3 cards end at 10 and 20.
TEST(Easy, TheShadowIsJudgedOnNodes) {
  auto engine = support::MakeEngine("binpack", {Node("a", 64'000, 4), Node("b", 64'000, 4)});
  const NodeId a = engine->state().FindNode("a");
  const NodeId b = engine->state().FindNode("b");
  const auto place = [&](NodeId node, int cards, std::uint64_t uid) {
    PodObserved pod;
    pod.uid = PodUid{1, uid};
    pod.spec = Ask(1000, cards, 1000);
    pod.node = engine->state().name(node);
    for (int c = 0; c < cards; ++c) pod.cards.Add(c);
    ASSERT_TRUE(engine->Apply(pod, SimTime{}).has_value());
  };
  place(a, 2, 1);
  place(b, 3, 2);
  const Running first{10, {{a, 1000, 0, 0, 2}}};
  const Running second{20, {{b, 1000, 0, 0, 3}}};
  const auto shadow = [&](int cards, int count) {
    const auto shape = engine->InternShape(Ask(1000, cards, 1000));
    return ShadowTime(engine->state(), {&first, &second},
                      {{&engine->state().shape(*shape), *shape, count}});
  };
  EXPECT_EQ(shadow(4, 1), 10);  // a is whole at 10
  EXPECT_EQ(shadow(4, 2), 20);
  EXPECT_EQ(shadow(3, 2), 20);  // 2 + 1 free now, 4 + 1 at 10: five cards, but not 3 and 3
  EXPECT_EQ(shadow(8, 1), kNever);
}

std::string Dgx1() { return topology::FormatGraph(*topology::CatalogMachine("dgx-1-v100")); }

TEST(JobSpeed, CommunicationStretchesWithTheBandwidth) {
  JobSpeed::Got half;
  half.mbps = 40'000;
  half.best = 80'000;
  EXPECT_EQ(JobSpeed::RunTime(1'000'000, 0, half), 1'000'000);
  EXPECT_EQ(JobSpeed::RunTime(1'000'000, 500, half), 1'500'000);  // half of it takes twice as long
  EXPECT_EQ(JobSpeed::RunTime(1'000'000, 1000, half), 2'000'000);
  EXPECT_EQ(JobSpeed::RunTime(1'000'000, 500, JobSpeed::Got{}), 1'000'000);  // unknown: as recorded
  EXPECT_EQ(JobSpeed::RunTime(-1, 500, half), -1);
}

TEST(JobSpeed, NodesAndTiersOfAJob) {
  NodeSpec spec;
  spec.cpu_milli = 64'000;
  spec.machine = Dgx1();
  spec.cards.assign(8, CardSpec{});
  std::vector<NodeSpec> nodes;
  for (const auto& [name, rack] : {std::pair{"a", "r1"}, {"b", "r1"}, {"c", "r2"}}) {
    spec.name = name;
    spec.network = {{1, rack}, {2, "z"}};
    nodes.push_back(spec);
  }
  auto engine = support::MakeEngine("binpack", nodes);
  SpeedOptions options;
  options.tier_percent[2] = 50;
  JobSpeed speed(engine->state(), engine->domains(), options);
  EXPECT_EQ(speed.Best(1, 1), 0);
  EXPECT_EQ(speed.Best(2, 2), 40'000);
  EXPECT_EQ(speed.Best(6, 6), 80'000);
  EXPECT_EQ(speed.Best(16, 8), 48'000);  // four NICs of 12,500, 96 % of it
  EXPECT_EQ(speed.Best(12, 4), 24'000);  // 8 + 4: the node with 4 has half its NICs
  EXPECT_EQ(speed.Best(12, 1), 36'000);  // 6 + 6
  const auto got = [&](std::vector<std::pair<NodeId, CardSet>> cards) {
    return speed.Of(engine->domains(), cards, 8);
  };
  const NodeId a = engine->state().FindNode("a");
  const NodeId b = engine->state().FindNode("b");
  const NodeId c = engine->state().FindNode("c");
  EXPECT_EQ(got({{a, CardSet(0b1001)}}).mbps, 40'000);
  EXPECT_EQ(got({{a, CardSet(0b1001)}}).tier, 0);
  EXPECT_EQ(got({{a, CardSet(0xFF)}, {b, CardSet(0xFF)}}).mbps, 48'000);
  EXPECT_EQ(got({{a, CardSet(0xFF)}, {b, CardSet(0xFF)}}).tier, 1);
  EXPECT_EQ(got({{a, CardSet(0xFF)}, {c, CardSet(0xFF)}}).mbps, 24'000);  // over the zone: half
  EXPECT_EQ(got({{a, CardSet(0xFF)}, {c, CardSet(0xFF)}}).tier, 2);
  EXPECT_EQ(got({{a, CardSet(1)}}).mbps, 0);
}

TEST(JobSpeed, TraysOfOneNvlinkDomainAreJoinedByItsFabric) {
  NodeSpec spec;
  spec.cpu_milli = 64'000;
  spec.machine = topology::FormatGraph(*topology::CatalogMachine("gb200-nvl72-tray"));
  spec.cards.assign(4, CardSpec{});
  std::vector<NodeSpec> nodes;
  for (const auto& [name, clique] : {std::pair{"a", "c0"}, {"b", "c0"}, {"c", "c1"}}) {
    spec.name = name;
    spec.network = {{1, clique}};
    nodes.push_back(spec);
  }
  auto engine = support::MakeEngine("binpack", nodes);
  SpeedOptions options;
  options.fabric_tier = 1;
  JobSpeed speed(engine->state(), engine->domains(), options);
  const CardSet all(0xF);
  const NodeId a = engine->state().FindNode("a");
  const auto got = [&](const char* other) {
    const std::vector<std::pair<NodeId, CardSet>> cards = {{a, all},
                                                           {engine->state().FindNode(other), all}};
    return speed.Of(engine->domains(), cards, 4);
  };
  EXPECT_EQ(got("b").mbps, 18 * 40'100);  // 18 NVLinks a card
  EXPECT_EQ(got("b").best, 18 * 40'100);
  EXPECT_LT(got("c").mbps, 250'000);  // NICs
  EXPECT_EQ(speed.Best(8, 4), 18 * 40'100);
  EXPECT_LT(speed.Best(12, 4), 250'000);  // no domain has twelve
}

// The two jobs of 2 cards: the second finds only cards without NVLink between them.
TEST(ReplayTopology, BandwidthAndCompletionAreMeasured) {
  Rows rows;
  rows.Add(0, 10, 1, 6, 0, "", 500);
  rows.Add(1, 10, 1, 2, 0, "", 500);
  const Workload workload = Make({Machine("a", 8, "", Dgx1())}, rows);
  const RunResult first = Simulate(workload, {}, "binpack/first");
  EXPECT_EQ(first.topology.jobs, 2);
  // {0..5} has rings worth 40 of 80; {6, 7} are joined by two links, 40 of 40.
  EXPECT_DOUBLE_EQ(first.topology.bandwidth_pct, 75);
  EXPECT_DOUBLE_EQ(first.topology.at_best_pct, 50);
  EXPECT_DOUBLE_EQ(first.topology.stretch, 1.25);  // 15 s and 10 s for 20 s
  EXPECT_DOUBLE_EQ(first.completion.mean, (15 + 10) / 2.0);
  const RunResult wired = Simulate(workload, {}, "binpack/topology");
  EXPECT_DOUBLE_EQ(wired.completion.max, 10 + (wired.topology.stretch - 1) * 20);
  EXPECT_EQ(wired.topology.by_size.front().cards, 2);
}

TEST(ReplayTopology, WaitingForBandwidthIsAnOptionWithAPrice) {
  Rows rows;
  rows.Add(0, 10, 1, 4);
  rows.Add(0, 20, 1, 2);
  rows.Add(1, 5, 1, 2);
  rows.Add(2, 5, 1, 2);
  // Four pairs, each joined; across pairs only PCIe.
  const std::string machine =
      "8 link=0-1:40000,2-3:40000,4-5:40000,6-7:40000 pcie=0..3-n0:12000,4..7-n1:12000 "
      "socket=n0-n1:6000";
  const Workload workload = Make({Machine("a", 8, "", machine)}, rows);
  ReplayOptions none;
  ReplayOptions all;
  all.wait_for_bandwidth_pct = 100;
  const RunResult takes = Simulate(workload, none, "binpack/spread");
  const RunResult waits = Simulate(workload, all, "binpack/spread");
  EXPECT_DOUBLE_EQ(waits.topology.at_best_pct, 100);
  EXPECT_LE(takes.topology.bandwidth_pct, waits.topology.bandwidth_pct);
  EXPECT_GE(waits.wait.mean, takes.wait.mean);
}

// The comparison of docs/topology.md: node choice by wiring gets 93 % of the best bandwidth for at
// most 20 % more waiting, and summing pairs does not come near.
TEST(ReplayTopology, NodeChoiceByWiringBeatsPairSums) {
  double bandwidth[3] = {0, 0, 0};
  double wait[3] = {0, 0, 0};
  const char* policies[3] = {"binpack/first", "binpack/pair-sum", "node-topology-aware"};
  for (std::uint64_t seed = 42; seed < 46; ++seed) {
    CardJobs jobs;
    jobs.machine = Dgx1();
    jobs.seed = seed;
    const auto workload = MakeCardJobs(jobs);
    ASSERT_TRUE(workload.has_value());
    for (int p = 0; p < 3; ++p) {
      const auto run = RunReplay(*workload, Policy(policies[p]), 0, {}, {});
      ASSERT_TRUE(run.has_value());
      bandwidth[p] += run->topology.bandwidth_pct / 4;
      wait[p] += run->wait.mean / 4;
    }
  }
  EXPECT_LT(bandwidth[0], 77);
  EXPECT_LT(bandwidth[1], 80);
  EXPECT_GE(bandwidth[2], 93);
  EXPECT_LE(wait[2], 1.2 * wait[0]);
}

TEST(CardJobs, OfferTheLoadThatWasAsked) {
  CardJobs jobs;
  jobs.machine = "8";
  jobs.jobs = 20'000;
  const auto workload = MakeCardJobs(jobs);
  ASSERT_TRUE(workload.has_value());
  double card_us = 0;
  for (std::uint32_t i = 0; i < workload->arrivals.size(); ++i) {
    card_us += static_cast<double>(workload->DemandMilli(i)) / 1000 *
               static_cast<double>(workload->arrivals[i].duration_us);
  }
  const double span = static_cast<double>(workload->arrivals.back().submit_us);
  EXPECT_NEAR(card_us / (span * 128), 0.9, 0.03);
}

// A card that a slice leaves is whole again, and the head may count on it.
TEST(Easy, TheShadowSeesCardsBecomeWhole) {
  auto engine = support::MakeEngine("binpack", {Node("a", 64'000, 2)});
  const NodeId a = engine->state().FindNode("a");
  support::Observe(*engine, "a", Ask(1000, 1, 500), CardSet::Of(0), 1);
  const Running slice{100, {{a, 1000, 0, 500, 0}}};
  const auto shape = engine->InternShape(Ask(1000, 2, 1000));
  const auto shadow = [&](const std::vector<const Running*>& running) {
    return ShadowTime(engine->state(), running, {{&engine->state().shape(*shape), *shape, 1}});
  };
  EXPECT_EQ(shadow({&slice}), 100);
  EXPECT_EQ(shadow({}), kNever);
}

// What a job takes counts from its start, and what it leaves from its end.
TEST(ReplayTopology, IntactSetsAreThoseOfTheTimeThatPassed) {
  Rows rows;
  rows.Add(0, 10, 1, 8);
  const std::vector<trace::Node> nodes = {Machine("a", 8, "", Dgx1())};
  EXPECT_DOUBLE_EQ(Simulate(Make(nodes, rows), {}).topology.intact8_mean, 0);
  rows.Add(20, 10, 1, 8);  // idle from 10 to 20, of 30
  EXPECT_DOUBLE_EQ(Simulate(Make(nodes, rows), {}).topology.intact8_mean, 1.0 / 3);
}

TEST(TraceNodes, LevelsAreOrderedByAllNodesTogether) {
  const auto cluster =
      NodesFromTrace({Machine("a", 1, "nvlink=a;spine=s"), Machine("b", 1, "rack=r;spine=s"),
                      Machine("c", 1, "nvlink=b;rack=r;spine=s")});
  ASSERT_TRUE(cluster.has_value()) << cluster.error().ToString();
  EXPECT_EQ(cluster->tier_names,
            (std::map<int, std::string>{{1, "nvlink"}, {2, "rack"}, {3, "spine"}}));
  EXPECT_EQ(cluster->nodes[0].network, (topology::NetworkPath{{1, "a"}, {3, "s"}}));
  EXPECT_EQ(cluster->nodes[1].network, (topology::NetworkPath{{2, "r"}, {3, "s"}}));
  EXPECT_EQ(cluster->nodes[2].network, (topology::NetworkPath{{1, "b"}, {2, "r"}, {3, "s"}}));
}

TEST(TraceNodes, LevelsThatContradictEachOtherAreAnError) {
  const auto cluster =
      NodesFromTrace({Machine("a", 1, "rack=r;spine=s"), Machine("b", 1, "spine=s;rack=r")});
  ASSERT_FALSE(cluster.has_value());
  EXPECT_EQ(cluster.error().ToString(),
            "nodes: their domains contradict each other: which of the levels rack, spine is "
            "narrower?");
}

// The engine would take the second for the first.
TEST(TraceNodes, TwoPodsOfOneNameAreAnError) {
  Rows rows;
  rows.Add(0, 5, 1, 1);
  rows.Add(1, 5, 2, 1, 2);
  rows.jobs[0].id = rows.tasks[0].job_id = "a/b/0";
  rows.jobs[1].id = rows.tasks[1].job_id = "a";
  rows.tasks[1].task = "b";
  const auto make = [&] {
    return MakeWorkload("toy", *NodesFromTrace({Machine("a", 4)}), rows.jobs, rows.tasks);
  };
  const auto twice = make();
  ASSERT_FALSE(twice.has_value());
  EXPECT_EQ(twice.error().ToString(), "toy: two pods are called \"a/b/0\"; rename a job or a task");
  rows.tasks[1].task = "c";
  EXPECT_TRUE(make().has_value());
}

// The best is that of the pods which compute, though the first task of the gang has no cards.
TEST(ReplayTopology, ALauncherDoesNotHideItsGangsBandwidth) {
  const auto run = [](int workers, int cards) {
    Rows rows;
    rows.Add(0, 10, workers, cards, workers);
    trace::Task launcher;
    launcher.job_id = rows.tasks[0].job_id;
    launcher.task = "launcher";
    launcher.gang_min = 1;
    launcher.cpu_milli = 1000;
    rows.tasks.insert(rows.tasks.begin(), launcher);
    ReplayOptions options;
    options.speed.tier_percent[2] = 50;
    const std::vector<trace::Node> nodes = {Machine("a", 8, "rack=r1;zone=z", Dgx1()),
                                            Machine("b", 8, "rack=r2;zone=z", Dgx1())};
    return Simulate(Make(nodes, rows), options);
  };
  const RunResult two = run(2, 8);
  EXPECT_EQ(two.gangs, 1);
  EXPECT_EQ(two.placed, 3);
  EXPECT_EQ(two.topology.jobs, 1);
  // 24,000 over the zone, of the 48,000 of four NICs.
  EXPECT_DOUBLE_EQ(two.topology.bandwidth_pct, 50);
  // 8 + 4 cards: 12,000 over the zone, of 24,000; pods of one card would have 36,000 (6 + 6).
  const RunResult three = run(3, 4);
  EXPECT_EQ(three.topology.jobs, 1);
  EXPECT_DOUBLE_EQ(three.topology.bandwidth_pct, 50);
}

}  // namespace
}  // namespace basalt::sim
