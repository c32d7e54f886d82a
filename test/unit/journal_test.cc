// The bytes of journal and snapshot: what is written can be read back, what is damaged is noticed.
#include "scheduler-core/engine/journal.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "test/support/cluster.h"
#include "test/support/story.h"

namespace basalt {
namespace {

using support::Ask;
using support::Node;
using support::Policy;
using support::Uid;

RequestSpec FullSpec() {
  RequestSpec spec = Ask(4000, 2, 500);
  spec.memory_mib = 1024;
  spec.gpu_memory_mib = 2000;
  spec.gpu_memory_percent = 30;
  spec.models = {"T4", "A10"};
  spec.node_selector = {{"zone", "a"}};
  spec.tolerations = {"gpu", ""};
  spec.min_bandwidth_mbps = 90'000;
  spec.bandwidth_required = true;
  spec.nics = 2;
  spec.numa = topology::NumaPolicy::kRestricted;
  spec.containers = {{1000, 24, 1, 2}, {3000, 1000, 1, 0}};
  return spec;
}

NodeSpec FullNode() {
  NodeSpec node = Node("node-a", 64'000, 2, "A10", 24'576);
  node.rank = 12;
  node.max_pods = 110;
  node.numa_nodes = 2;
  node.labels = {{"zone", "a"}, {"unicode", "\xc3\xa4"}};
  node.taints = {"gpu"};
  node.cards[1].uuid = "GPU-7";
  node.cards[1].slots = 3;
  node.cards[1].numa = 1;
  node.cards[1].mode = CardMode::kMig;
  node.network = {{1, "rack-1"}, {3, "zone-a"}};
  node.numa_policy = topology::NumaPolicy::kBestEffort;
  node.numa_scope = topology::NumaScope::kPod;
  node.numa = {{32'000, 131'072, 0, 0}, {32'000, 131'072, 0, 0}};
  return node;
}

// One of every kind, with every field set to something else than its default.
std::vector<JournalRecord> EveryKind() {
  PodObserved pod;
  pod.uid = Uid(1);
  pod.attempt = 2;
  pod.spec = FullSpec();
  pod.job = 77;
  pod.node = "node-a";
  pod.cards = CardSet(0b11);
  NumaTake take;
  take.nodes = 0b10;
  take.nics = 0b101;
  take.cpu[1] = 4000;
  take.memory[7] = 9;
  pod.numa = std::make_shared<const NumaTake>(take);
  GangSpecRecord gang{Uid(20), 3, 44, {}, {Uid(21), Uid(22), Uid(23)}};
  gang.spec.tasks = {{"ps", ShapeId(std::size_t{0}), 1, 1, 0},
                     {"worker", ShapeId(std::size_t{1}), 1, 2, -1}};
  gang.spec.groups = {{"head", {1, 2}}};
  gang.spec.level = {2, 3};
  gang.spec.layout = GangLayout::kBalanced;
  std::vector<JournalRecord> out;
  const auto add = [&](auto body) {
    out.push_back(JournalRecord{SimTime{static_cast<std::int64_t>(out.size()) - 3}, body});
  };
  add(PolicyRecord{"binpack/spread", 42, {{FullSpec(), 3}, {Ask(1), 1}}, 5, 90});
  add(ShapeRecord{FullSpec()});
  add(EventRecord{NodeAdded{FullNode()}});
  add(EventRecord{NodeRemoved{"node-a"}});
  add(EventRecord{NodeCordoned{"node-a", true}});
  add(EventRecord{CardHealthChanged{"node-a", 1, true}});
  add(EventRecord{pod});
  add(EventRecord{PodGone{Uid(3)}});
  add(EventRecord{PodGone{Uid(3), true}});
  add(DecisionRecord{Uid(4), 1, 2, 3, OutcomeKind::kInfeasible});
  add(ReservedRecord{Uid(5), 1, 2, 3, "node-a", CardSet(0b10), 9, SimTime{123}, pod.numa});
  add(ConfirmedRecord{Uid(6)});
  add(ReleasedRecord{Uid(7)});
  add(ExpiredRecord{Uid(8)});
  add(GangReservedRecord{
      gang, {{0, "node-a", CardSet(1), nullptr}, {2, "b", CardSet(), pod.numa}}, 12, SimTime{77}});
  add(GangDecisionRecord{gang, OutcomeKind::kInfeasible});
  add(GangConfirmedRecord{Uid(20), 12});
  add(GangReleasedRecord{Uid(20)});
  add(EventRecord{NodeChanged{FullNode()}});
  add(RenewedRecord{Uid(9), true, 7, SimTime{88}});
  add(DecisionRecord{Uid(4), 1, 2, 3, OutcomeKind::kWait, {}, {{"node-b"}, {"node-a", ""}}});
  add(ReservedRecord{Uid(5),
                     1,
                     2,
                     3,
                     "node-a",
                     CardSet(0b10),
                     9,
                     SimTime{123},
                     nullptr,
                     {},
                     {{"node-b", "node-c"}, {}}});
  gang.nodes = {{}, {"node-a"}};
  gang.task_nodes = {{{"node-c"}, {}}, {}};
  add(GangDecisionRecord{gang, OutcomeKind::kWait});
  return out;
}

std::string Encode(const std::vector<JournalRecord>& records) {
  JournalBuffer buffer;
  for (const JournalRecord& record : records) buffer.Append(record);
  return buffer.bytes();
}

TEST(Journal, EveryKindOfRecordReadsBackAsWritten) {
  const std::vector<JournalRecord> records = EveryKind();
  const std::string bytes = Encode(records);
  const auto read = ReadJournal(bytes);
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->tail_problem, "");
  EXPECT_EQ(read->valid_bytes, bytes.size());
  ASSERT_EQ(read->records.size(), records.size());
  EXPECT_EQ(Encode(read->records), bytes);  // encoding is a function of every field
  for (std::size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(read->records[i].now, records[i].now);
    EXPECT_EQ(read->records[i].body.index(), records[i].body.index());
  }
  const auto& node = std::get<EventRecord>(read->records[2].body);
  EXPECT_EQ(std::get<NodeAdded>(node.event).spec, FullNode());
  EXPECT_EQ(std::get<ShapeRecord>(read->records[1].body).spec, FullSpec());
}

// Every field of a request alters its identity: the interned shape, what is journaled, and the
// digest of a state in which a pod of it runs.
TEST(Journal, EveryFieldOfARequestCounts) {
  using Change = std::function<void(RequestSpec&)>;
  RequestSpec base = Ask(2000, 2, 500);
  base.memory_mib = 100;
  base.nics = 2;
  base.min_bandwidth_mbps = 1000;
  base.containers = {{1000, 50, 1, 1}, {1000, 50, 1, 1}};
  RequestSpec sliced = base;  // its containers say what they want of their cards
  sliced.gpu_milli = 0;
  for (ContainerSpec& c : sliced.containers) c.gpu_milli = 300;
  // A spec that validates, with one field altered.
  const std::vector<std::pair<const RequestSpec*, Change>> changes = {
      {&base, [](RequestSpec& s) { s.containers.clear(); }},
      {&base, [](RequestSpec& s) { s.gpu_milli = 600; }},
      {&base, [](RequestSpec& s) { s.gpu_memory_mib = 7; }},
      {&base, [](RequestSpec& s) { s.gpu_memory_percent = 7; }},
      {&base, [](RequestSpec& s) { s.models = {"T4"}; }},
      {&base, [](RequestSpec& s) { s.node_selector = {{"a", "b"}}; }},
      {&base, [](RequestSpec& s) { s.node_selector = {{"a", "c"}}; }},
      {&base, [](RequestSpec& s) { s.node_selector = {{"b", "b"}}; }},
      {&base, [](RequestSpec& s) { s.tolerations = {"T4"}; }},
      {&base, [](RequestSpec& s) { s.min_bandwidth_mbps = 2000; }},
      {&base, [](RequestSpec& s) { s.bandwidth_required = true; }},
      {&base, [](RequestSpec& s) { s.numa = topology::NumaPolicy::kBestEffort; }},
      {&base, [](RequestSpec& s) { s.vendors = {"T4"}; }},
      {&base, [](RequestSpec& s) { s.nouse_models = {"T4"}; }},
      {&base, [](RequestSpec& s) { s.use_uuids = {"T4"}; }},
      {&base, [](RequestSpec& s) { s.nouse_uuids = {"T4"}; }},
      {&base, [](RequestSpec& s) { s.service_class = ServiceClass::kBurstable; }},
      {&base, [](RequestSpec& s) { s.memory_ratio_percent = 150; }},
      {&base, [](RequestSpec& s) { s.qos = "burst-share"; }},
      {&base, [](RequestSpec& s) { s.mig_profile = "1g.5gb"; }},
      {&base,
       [](RequestSpec& s) {
         s.gpu_milli = 0;
         s.compute_units = 40;
       }},
      {&base, [](RequestSpec& s) { s.gpu_milli = 1000; }},
      {&base,
       [](RequestSpec& s) {
         s.gpu_milli = 1000;
         s.passthrough = true;
       }},
      {&base, [](RequestSpec& s) { s.cpu_milli = (s.containers[0].cpu_milli += 1) + 1000; }},
      {&base, [](RequestSpec& s) { s.memory_mib = (s.containers[0].memory_mib += 1) + 50; }},
      {&base, [](RequestSpec& s) { s.gpus = (s.containers[0].gpus += 1) + 1; }},
      {&base, [](RequestSpec& s) { s.nics = (s.containers[0].nics += 1) + 1; }},
      {&base,
       [](RequestSpec& s) {
         ++s.containers[0].cpu_milli;
         --s.containers[1].cpu_milli;
       }},
      {&base,
       [](RequestSpec& s) {
         ++s.containers[0].memory_mib;
         --s.containers[1].memory_mib;
       }},
      {&base,
       [](RequestSpec& s) {
         s.containers[0].gpus = 2;
         s.containers[1].gpus = 0;
       }},
      {&base,
       [](RequestSpec& s) {
         s.containers[0].nics = 2;
         s.containers[1].nics = 0;
       }},
      {&sliced, [](RequestSpec&) {}},
      {&sliced, [](RequestSpec& s) { s.containers[1].gpu_milli = 301; }},
      {&sliced, [](RequestSpec& s) { s.containers[1].gpu_memory_mib = 9; }},
      {&sliced, [](RequestSpec& s) { s.containers[1].gpu_memory_percent = 9; }},
      {&sliced,
       [](RequestSpec& s) {
         s.containers[1].gpu_milli = 0;
         s.containers[1].compute_units = 9;
       }},
  };
  std::vector<RequestSpec> specs = {base};
  for (const auto& [from, change] : changes) {
    specs.push_back(*from);
    change(specs.back());
  }
  auto engine = support::MakeEngine("binpack", {});
  std::vector<std::string> bytes;
  std::vector<Digest128> digests;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    ASSERT_TRUE(ValidateRequest(specs[i], "spec").has_value()) << i;
    const auto shape = engine->InternShape(specs[i]);
    ASSERT_TRUE(shape.has_value());
    EXPECT_EQ(shape->index(), i) << "as an earlier one";
    bytes.push_back(Encode({{SimTime{}, ShapeRecord{specs[i]}}}));
    const auto read = ReadJournal(bytes.back());
    ASSERT_TRUE(read.has_value() && read->records.size() == 1);
    EXPECT_EQ(std::get<ShapeRecord>(read->records[0].body).spec, specs[i]) << i;
    auto other = support::MakeEngine("binpack", {Node("n", 64'000, 8)});
    PodObserved pod{Uid(1), 0, specs[i], 0, "n", CardSet(0b11)};
    NumaTake take;  // the same slices, whatever was asked
    take.slices = {{0, 0, -1, -1, 100, 0, false}, {1, 1, -1, -1, 100, 0, false}};
    pod.numa = std::make_shared<const NumaTake>(take);
    const Status observed = other->Apply(pod, SimTime{});
    ASSERT_TRUE(observed.has_value()) << i << " " << observed.error().ToString();
    digests.push_back(other->StateDigest());
    Digest own;
    AddTo(specs[i], &own);
    for (std::size_t k = 0; k < i; ++k) {
      EXPECT_NE(bytes[k], bytes[i]) << k << " and " << i;
      EXPECT_NE(digests[k], digests[i]) << k << " and " << i << ": " << Describe(specs[i]);
      Digest its;
      AddTo(specs[k], &its);
      EXPECT_NE(its.value(), own.value()) << k << " and " << i;
    }
  }
}

TEST(JournalDamage, ATornTailAtEveryByteRecoversAPrefixAndSaysSo) {
  const auto story = support::Tell(1, "binpack", 12);
  const std::string& bytes = story->journal.bytes();
  const auto whole = ReadJournal(bytes);
  ASSERT_GT(whole->records.size(), 15U);
  std::size_t last = 0;
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
    const auto read = ReadJournal(std::string_view(bytes).substr(0, cut));
    if (cut < 16) {
      ASSERT_FALSE(read.has_value()) << cut;
      continue;
    }
    ASSERT_TRUE(read.has_value()) << cut;
    ASSERT_LE(read->valid_bytes, cut);
    ASSERT_GE(read->records.size(), last);
    last = read->records.size();
    ASSERT_EQ(read->tail_problem.empty(), read->valid_bytes == cut) << cut;
    ASSERT_EQ(Encode(read->records), bytes.substr(0, read->valid_bytes)) << cut;
  }
  EXPECT_EQ(last, whole->records.size() - 1);
}

TEST(JournalDamage, AFlippedByteNeverPassesForARecord) {
  const auto story = support::Tell(2, "binpack", 10);
  const std::string& bytes = story->journal.bytes();
  int caught = 0;
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    for (const int flip : {0x01, 0x80, 0xff}) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      const auto read = ReadJournal(damaged);
      if (!read) {
        ASSERT_LT(at, 16U);  // magic, version and its check
        continue;
      }
      // What is accepted is the true prefix before the damage.
      ASSERT_LE(read->valid_bytes, at);
      ASSERT_EQ(Encode(read->records), bytes.substr(0, read->valid_bytes));
      ASSERT_FALSE(read->tail_problem.empty());
      ++caught;
    }
  }
  EXPECT_GT(caught, 1000);
}

TEST(JournalDamage, ForeignAndNewerFilesAreRefused) {
  std::string bytes = Encode({});
  EXPECT_TRUE(ReadJournal(bytes).has_value());
  bytes[8] = static_cast<char>(kCodecVersion + 1);
  EXPECT_EQ(ReadJournal(bytes).error().message, "format version 6; this build reads up to 5");
  bytes[8] = 0;
  EXPECT_FALSE(ReadJournal(bytes).has_value());
  EXPECT_FALSE(ReadJournal("").has_value());
  EXPECT_FALSE(ReadJournal("this is a text file, not a journal").has_value());
}

TEST(SnapshotDamage, EveryCutAndEveryFlipIsRefused) {
  const auto story = support::Tell(4, "binpack", 15);
  const std::string bytes = story->engine->Snapshot();
  for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
    ASSERT_FALSE(DecodeSnapshot(std::string_view(bytes).substr(0, cut)).has_value()) << cut;
  }
  for (std::size_t at = 0; at < bytes.size(); ++at) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    ASSERT_FALSE(DecodeSnapshot(damaged).has_value()) << at;
  }
  EXPECT_FALSE(DecodeSnapshot(bytes + "x").has_value());
  std::string newer = bytes;
  newer[8] = static_cast<char>(kCodecVersion + 1);
  EXPECT_EQ(DecodeSnapshot(newer).error().message, "format version 6; this build reads up to 5");
}

TEST(Snapshot, EncodesWhatItDecodes) {
  const auto story = support::Tell(5, "binpack", 40);
  const std::string bytes = story->engine->Snapshot();
  const auto contents = DecodeSnapshot(bytes);
  ASSERT_TRUE(contents.has_value());
  EXPECT_EQ(EncodeSnapshot(*contents), bytes);
}

TEST(Snapshot, ContentsThatContradictThemselvesAreRefused) {
  SnapshotContents good;
  good.nodes.push_back({FullNode(), true, {1}, {}});
  good.shapes.push_back(Ask(1, 1, 100));
  good.allocations.push_back(
      {Uid(1), 0, 0, 0, "node-a", CardSet(1), 1, SimTime{9}, true, nullptr, PodUid{}, -1});
  const auto restores = [](const SnapshotContents& contents) {
    return Engine::Restore(EncodeSnapshot(contents), Policy("binpack"), EngineOptions{})
        .has_value();
  };
  EXPECT_TRUE(restores(good));
  for (const auto& damage : std::vector<void (*)(SnapshotContents&)>{
           [](SnapshotContents& c) { c.nodes[0].unhealthy_cards = {2}; },
           [](SnapshotContents& c) { c.nodes.push_back(c.nodes[0]); },
           [](SnapshotContents& c) { c.allocations[0].node = "b"; },
           [](SnapshotContents& c) { c.allocations[0].shape = 1; },
           [](SnapshotContents& c) { c.allocations[0].cards = CardSet(0b100); },
           [](SnapshotContents& c) { c.allocations.push_back(c.allocations[0]); },
           [](SnapshotContents& c) { c.shapes[0].gpu_milli = 9999; }}) {
    SnapshotContents bad = good;
    damage(bad);
    EXPECT_FALSE(restores(bad));
  }
}

}  // namespace
}  // namespace basalt
