// A day of a service over a real store that records: decided again it is the same, byte for byte;
// what is damaged is found; driven by other policies the laws hold and the numbers are those that
// one can work out.
#include "sim/recording.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <iterator>
#include <map>
#include <string>
#include <vector>

#include "scheduler-core/base/rng.h"
#include "test/support/recorded_life.h"

namespace basalt {
namespace {

namespace fs = std::filesystem;
namespace pb = placement::v1;

using support::GangOf;
using support::GoneDelta;
using support::Life;
using support::NodeDelta;
using support::PodDelta;
using support::PodOf;
using support::Read;
using support::ReadFolder;
using support::Slurp;
using support::Spill;
using support::TempDir;
using testing::HasSubstr;

// A day of random calls: what adapters, hosts and operators do.
class Day {
 public:
  Day(Life* life, std::uint64_t seed) : life_(*life), rng_(seed, 5) {}

  void Run(int steps, bool restarts) {
    std::vector<pb::Delta> deltas = Queues();
    for (int n = 0; n < 5; ++n) deltas.push_back(NodeOf(n));
    life_.List(deltas);
    for (int step = 0; step < steps && !testing::Test::HasFailure(); ++step) {
      life_.Wait(rng_.Below(20));
      Step(restarts);
      life_.service->Tick(life_.now);
    }
  }
  std::map<std::string, int> count;

 private:
  struct Pod {
    pb::PodRequest ask;
    pb::Lease lease;
    bool confirmed = false;
    std::string node;
    bool bound = false;
  };

  static std::vector<pb::Delta> Queues() {
    std::vector<pb::Delta> out;
    for (const char* name : {"a", "b"}) {
      pb::Delta delta;
      delta.mutable_queue()->set_name(name);
      auto* amount = delta.mutable_queue()->add_capacity();
      amount->set_resource("gpu");
      amount->set_amount(name[0] == 'a' ? 9000 : 5000);
      out.push_back(delta);
    }
    return out;
  }
  pb::Delta NodeOf(int n) {
    return NodeDelta("n" + std::to_string(n), 16'000 + 1000 * n, 2 + n % 3, n % 2 ? "T4" : "A10");
  }
  pb::PodRequest NewPod() {
    static constexpr int kMilli[] = {250, 500, 700, 1000};
    const int gpus = rng_.Below(5) == 0 ? 2 : 1;
    pb::PodRequest pod =
        PodOf(++uids_, 500 * (1 + rng_.Below(4)), gpus, gpus > 1 ? 1000 : kMilli[rng_.Below(4)]);
    pod.mutable_standing()->set_queue(rng_.Below(2) == 0 ? "" : rng_.Below(2) == 0 ? "a" : "b");
    pod.mutable_standing()->set_priority(static_cast<std::int32_t>(rng_.Below(3)));
    pod.set_job("job-" + std::to_string(rng_.Below(4)));
    Choose(pod.mutable_constraints());
    return pod;
  }
  void Choose(pb::Constraints* constraints) {
    const std::uint32_t what = rng_.Below(6);
    if (what == 0) constraints->add_excluded_nodes("n" + std::to_string(rng_.Below(6)));
    if (what == 1) {
      constraints->add_only_nodes("n" + std::to_string(rng_.Below(5)));
      constraints->add_only_nodes("n" + std::to_string(rng_.Below(5)));
    }
  }
  Pod* Any() {
    if (pods_.empty()) return nullptr;
    auto it = pods_.begin();
    std::advance(it, rng_.Below(static_cast<std::uint32_t>(pods_.size())));
    return &it->second;
  }

  void Step(bool restarts) {
    const std::uint32_t what = rng_.Below(40);
    if (what < 12) return Place();
    if (what < 15) return Propose();
    if (what < 19) return TheGang();
    if (what < 23) return Confirm();
    if (what < 27) return Bind();
    if (what < 31) return End();
    if (what < 33) return Foreign();
    if (what < 35) return Evict();
    if (what < 37) return Nodes();
    if (what < 38) return Reload();
    if (what < 39) {
      EXPECT_TRUE(life_.service->WriteSnapshot().has_value());
      ++count["snapshots"];
      return;
    }
    if (restarts) Restart();
  }

  void Place() {
    // One that has been refused asks again, or a new one comes.
    pb::PodRequest pod = waiting_.empty() || rng_.Below(3) > 0 ? NewPod() : waiting_.back();
    if (rng_.Below(4) == 0) life_.Tell({PodDelta(pod, "")});
    pb::ReserveRequest request;
    *request.mutable_pod() = pod;
    if (rng_.Below(4) == 0)
      request.mutable_placement()->set_node("n" + std::to_string(rng_.Below(5)));
    const auto answer = life_.service->Reserve(life_.caller, request, life_.now);
    ASSERT_TRUE(answer.ok()) << answer.message;
    if (!waiting_.empty() && waiting_.back().pod().uid() == pod.pod().uid()) waiting_.pop_back();
    if (!answer.body.has_lease()) {
      waiting_.push_back(pod);
      ++count["waits"];
      return;
    }
    Pod held{pod, answer.body.lease(), false, answer.body.pod().placement().node(), false};
    pods_[pod.pod().uid()] = held;
    ++count["placed"];
  }
  // Asked, and taken later as it was offered, or not at all.
  void Propose() {
    const pb::PodRequest pod = NewPod();
    pb::ProposeRequest request;
    *request.mutable_pod() = pod;
    request.mutable_pod()->set_alternatives(2);
    const auto answer = life_.service->Propose(life_.caller, request, life_.now);
    ASSERT_TRUE(answer.ok()) << answer.message;
    ++count["proposed"];
    const pb::Decision& decision = answer.body.pod();
    if (decision.kind() != pb::OUTCOME_KIND_PLACED || rng_.Below(2) == 0) return;
    life_.Wait(1);
    pb::ReserveRequest take;
    *take.mutable_pod() = pod;
    *take.mutable_placement() = decision.alternatives_size() > 0 && rng_.Below(2) == 0
                                    ? decision.alternatives(0)
                                    : decision.placement();
    const auto taken = life_.service->Reserve(life_.caller, take, life_.now);
    ASSERT_TRUE(taken.ok());
    if (!taken.body.has_lease()) return;
    pods_[pod.pod().uid()] = Pod{pod, taken.body.lease(), false, take.placement().node(), false};
    ++count["taken as offered"];
  }
  void TheGang() {
    uids_ += 10;
    pb::GangRequest gang = GangOf(uids_, 2 + static_cast<int>(rng_.Below(3)), 2, 1, 1000);
    gang.mutable_standing()->set_queue(rng_.Below(2) == 0 ? "" : "a");
    Choose(gang.mutable_constraints());
    pb::ReserveRequest request;
    *request.mutable_gang() = gang;
    request.set_confirm(rng_.Below(2) == 0);
    const auto answer = life_.service->Reserve(life_.caller, request, life_.now);
    ASSERT_TRUE(answer.ok()) << answer.message;
    uids_ += 10;
    if (!answer.body.has_lease()) {
      ++count["gangs wait"];
      return;
    }
    ++count["gangs placed"];
    gangs_.push_back(gang);
  }
  void Confirm() {
    Pod* pod = Any();
    if (pod == nullptr) return;
    pb::ConfirmRequest request;
    *request.mutable_lease() = pod->lease;
    pod->confirmed = life_.service->Confirm(life_.caller, request, life_.now).body.answer() ==
                     pb::LEASE_ANSWER_OK;
    count["confirmed"] += pod->confirmed ? 1 : 0;
  }
  void Bind() {
    Pod* pod = Any();
    if (pod == nullptr) return;
    // Now and then its scheduler has put it elsewhere.
    const std::string node = rng_.Below(8) == 0 ? "n0" : pod->node;
    life_.Tell({PodDelta(pod->ask, node)});
    pod->bound = true;
    ++count["bound"];
  }
  void End() {
    if (!gangs_.empty() && rng_.Below(3) == 0) {
      const pb::GangRequest gang = gangs_.back();
      gangs_.pop_back();
      std::vector<pb::Delta> gone;
      for (const pb::PodKey& member : gang.tasks(0).members()) {
        pb::Delta delta;
        delta.mutable_pod_gone()->set_uid(member.uid());
        gone.push_back(delta);
      }
      return life_.Tell(gone);
    }
    if (pods_.empty()) return;
    auto it = pods_.begin();
    std::advance(it, rng_.Below(static_cast<std::uint32_t>(pods_.size())));
    if (!it->second.bound && rng_.Below(2) == 0) {
      pb::ReleaseRequest request;
      *request.mutable_lease() = it->second.lease;
      life_.service->Release(life_.caller, request, life_.now);
      ++count["released"];
    } else {
      pb::Delta delta;
      delta.mutable_pod_gone()->set_uid(it->first);
      life_.Tell({delta});
      ++count["gone"];
    }
    pods_.erase(it);
  }
  void Foreign() {
    if (rng_.Below(3) == 0 && !foreign_.empty()) {
      life_.Tell({GoneDelta(foreign_.back())});
      foreign_.pop_back();
      return;
    }
    foreign_.push_back(1'000'000 + ++uids_);
    life_.Tell(
        {PodDelta(PodOf(foreign_.back(), 500, 1, 300), "n" + std::to_string(rng_.Below(5)))});
    ++count["foreign"];
  }
  void Evict() {
    pb::PodRequest pod = NewPod();
    pod.mutable_standing()->set_priority(9);
    pod.mutable_standing()->clear_queue();
    pb::EvictRequest request;
    *request.mutable_pod() = pod;
    request.set_dry_run(rng_.Below(2) == 0);
    const auto answer = life_.service->Evict(life_.caller, request, life_.now);
    ASSERT_TRUE(answer.ok()) << answer.message;
    count[answer.body.found() ? "evictions" : "no evictions"] += 1;
  }
  void Nodes() {
    pb::Delta delta;
    const int n = static_cast<int>(rng_.Below(5));
    switch (rng_.Below(3)) {
      case 0:
        delta = NodeOf(n);
        delta.mutable_node()->set_cordoned(rng_.Below(2) == 0);
        break;
      case 1:
        delta.set_node_gone("n5");
        break;
      default:
        delta = NodeDelta("n5", 8000, 2);
        break;
    }
    life_.Tell({delta});
    ++count["nodes"];
  }
  void Reload() {
    static constexpr const char* kPolicies[] = {
        "binpack", "spread", "best-fit", "fgd", "spread-job(binpack)", "random"};
    life_.config().policy = kPolicies[rng_.Below(6)];
    const Status ok = life_.service->Reload(life_.config(), {}, life_.now);
    EXPECT_TRUE(ok.has_value()) << ok.error().ToString();
    ++count["reloads"];
  }
  void Restart() {
    life_.Restart(rng_.Below(2) == 0);
    ++count["restarts"];
    std::vector<pb::Delta> deltas = Queues();
    for (int n = 0; n < 5; ++n) deltas.push_back(NodeOf(n));
    for (const auto& [uid, pod] : pods_) {
      if (pod.bound) deltas.push_back(PodDelta(pod.ask, pod.node));
    }
    for (const std::uint64_t uid : foreign_) {
      deltas.push_back(PodDelta(PodOf(uid, 500, 1, 300), "n" + std::to_string(uid % 5)));
    }
    life_.List(deltas);
  }

  Life& life_;
  Rng rng_;
  std::uint64_t uids_ = 0;
  std::map<std::string, Pod> pods_;
  std::vector<pb::PodRequest> waiting_;
  std::vector<pb::GangRequest> gangs_;
  std::vector<std::uint64_t> foreign_;
};

service::ClusterConfig DayCluster(std::uint64_t seed) {
  service::ClusterConfig config = support::TestCluster();
  config.target_skus = {"half-t4"};
  config.seed = static_cast<std::int64_t>(seed);
  return config;
}

constexpr std::int64_t kPlenty = std::int64_t{1} << 40;

TEST(Recording, ADayDecidesAgainAsItDid) {
  std::map<std::string, int> count;
  std::size_t decisions = 0, evictions = 0, states = 0;
  for (int i = 0; i < support::Scaled(30); ++i) {
    const auto seed = static_cast<std::uint64_t>(100 + i);
    TempDir folder;
    Life life(folder.path(), DayCluster(seed), kPlenty);
    Day day(&life, seed);
    day.Run(250, true);
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
    const std::string digest = life.service->StateDigest();
    life.Stop();
    const Read read = ReadFolder(life.cluster());
    const auto replay = sim::ReplayRecording(read.source, support::Builtins());
    ASSERT_TRUE(replay.has_value()) << replay.error().ToString() << " seed " << seed;
    ASSERT_EQ(replay->different, 0U) << "seed " << seed << ": " << replay->first_difference;
    ASSERT_EQ(replay->recorded, replay->replayed) << "seed " << seed;
    ASSERT_EQ(replay->states_different, 0U) << "seed " << seed << ": " << replay->first_gap;
    ASSERT_EQ(replay->state_digest.ToHex(), digest) << "seed " << seed;
    ASSERT_EQ(replay->without_decisions, 0U);
    ASSERT_THAT(read.recording->notes(), testing::IsEmpty());
    decisions += replay->decisions;
    evictions += replay->evictions;
    states += replay->states;
    for (const auto& [what, times] : day.count) count[what] += times;
  }
  for (const auto& [what, times] : count) std::printf("%s: %d\n", what.c_str(), times);
  std::printf("%zu decisions, %zu evictions, %zu states\n", decisions, evictions, states);
  EXPECT_GT(evictions, static_cast<std::size_t>(support::Scaled(20)));
  for (const char* what : {"placed", "waits", "proposed", "taken as offered", "gangs placed",
                           "foreign", "evictions", "reloads", "restarts", "snapshots"}) {
    EXPECT_GT(count[what], support::Scaled(10)) << what;
  }
}

// The digest is the one that the live engine has of its own decisions.
TEST(Recording, TheDigestIsTheEnginesOwn) {
  TempDir folder;
  Life life(folder.path(), DayCluster(7), kPlenty);
  Day day(&life, 7);
  day.Run(300, false);
  const std::string live = life.service->engine().DecisionDigest().ToHex();
  life.Stop();
  const Read read = ReadFolder(life.cluster());
  const auto replay = sim::ReplayRecording(read.source, support::Builtins());
  ASSERT_TRUE(replay.has_value()) << replay.error().ToString();
  EXPECT_EQ(replay->recorded.ToHex(), live);
  EXPECT_EQ(replay->replayed.ToHex(), live);
}

TEST(Recording, DamageIsFoundWithItsFileAndByte) {
  TempDir folder;
  Life life(folder.path(), DayCluster(3), kPlenty);
  Day day(&life, 3);
  day.Run(60, false);
  life.Stop();
  const std::vector<std::uint64_t> generations =
      ReadFolder(life.cluster()).recording->generations();
  int found = 0;
  for (const char* kind : {"journal", "decisions", "snapshot"}) {
    for (const std::uint64_t generation : generations) {
      const std::string path = life.cluster() + "/" + kind + "-" + std::to_string(generation);
      const std::string whole = Slurp(path);
      for (std::size_t at = 8; at < whole.size(); at += 1 + whole.size() / 17) {
        std::string bad = whole;
        bad[at] = static_cast<char>(bad[at] ^ 0x10);
        Spill(path, bad);
        const Read read = ReadFolder(life.cluster());
        const auto replay = sim::ReplayRecording(read.source, support::Builtins());
        ASSERT_FALSE(replay.has_value()) << path << " byte " << at;
        const std::string words = replay.error().ToString();
        EXPECT_THAT(words, HasSubstr(std::string(kind) + "-" + std::to_string(generation)));
        if (std::string(kind) != "snapshot") {
          EXPECT_THAT(words, HasSubstr("at byte"));
        }
        ++found;
      }
      Spill(path, whole);
    }
  }
  EXPECT_GT(found, 30);
  // A torn end is one, too, unless it is said to be the end.
  std::string torn;
  for (const std::uint64_t generation : generations) {
    const std::string path = life.cluster() + "/decisions-" + std::to_string(generation);
    if (Slurp(path).size() > 100) torn = path;
  }
  ASSERT_FALSE(torn.empty());
  const std::string whole = Slurp(torn);
  Spill(torn, whole.substr(0, whole.size() - 3));
  const Read strict = ReadFolder(life.cluster());
  const auto refused = sim::ReplayRecording(strict.source, support::Builtins());
  ASSERT_FALSE(refused.has_value());
  EXPECT_THAT(refused.error().ToString(), HasSubstr("torn entry at byte"));
  const Read cut = ReadFolder(life.cluster(), true);
  const auto replay = sim::ReplayRecording(cut.source, support::Builtins());
  ASSERT_TRUE(replay.has_value()) << replay.error().ToString();
  EXPECT_EQ(replay->different, 0U);
  EXPECT_THAT(cut.recording->notes(), testing::Contains(HasSubstr("torn entry")));
}

// Somebody writes another place into the recording, with the right checksums.
TEST(Recording, AForgedDecisionIsADifference) {
  TempDir folder;
  Life life(folder.path(), support::TestCluster(), kPlenty);
  life.List({NodeDelta("n0", 16'000, 2), NodeDelta("n1", 16'000, 2)});
  for (std::uint64_t p = 1; p <= 3; ++p) {
    life.Wait(1);
    EXPECT_TRUE(life.Reserve(PodOf(p, 1000, 1, 1000), true).has_lease());
  }
  life.Stop();
  const std::string path = life.cluster() + "/decisions-1";
  auto contents = ReadDecisions(Slurp(path));
  ASSERT_TRUE(contents.has_value());
  std::string forged = DecisionsHeader();
  int pods = 0;
  for (DecisionEntry& entry : contents->entries) {
    auto* decision = std::get_if<RecordedDecision>(&entry.body);
    if (decision != nullptr && ++pods == 2) decision->place.node = "n1";
    forged += EncodeDecision(entry);
  }
  ASSERT_EQ(pods, 3);
  Spill(path, forged);
  const Read read = ReadFolder(life.cluster());
  const auto replay = sim::ReplayRecording(read.source, support::Builtins());
  ASSERT_TRUE(replay.has_value()) << replay.error().ToString();
  EXPECT_EQ(replay->decisions, 3U);
  EXPECT_EQ(replay->different, 1U);
  EXPECT_NE(replay->recorded, replay->replayed);
  EXPECT_THAT(replay->first_difference, HasSubstr("decision 2"));
  EXPECT_THAT(replay->first_difference, HasSubstr("was Placed on n1"));
  EXPECT_THAT(replay->first_difference, HasSubstr("now Placed on n0"));
}

TEST(Recording, TheLimitCutsWholeGenerationsAndSaysSo) {
  TempDir folder;
  constexpr std::int64_t kLimit = 400'000;
  Life life(folder.path(), support::TestCluster(), kLimit);
  life.List({NodeDelta("n0", 64'000, 8)});
  for (std::uint64_t p = 1; p <= 1000; ++p) {
    life.Wait(1);
    EXPECT_TRUE(life.Reserve(PodOf(p, 100, 1, 100), true).has_lease());
    life.Tell({GoneDelta(p)});
    if (p % 20 == 0) {
      ASSERT_TRUE(life.service->WriteSnapshot().has_value());
    }
  }
  const service::Store::Recording kept = life.files->RecordingOf("c1");
  EXPECT_GT(kept.cut, 0U);
  EXPECT_EQ(kept.oldest, kept.cut + 1);
  EXPECT_LE(kept.bytes, kLimit);
  EXPECT_GT(kept.bytes, kLimit / 2);
  life.Stop();
  const Read read = ReadFolder(life.cluster());
  EXPECT_GT(read.recording->generations().size(), 3U);
  EXPECT_LT(read.recording->generations().size(), 50U);
  EXPECT_THAT(read.recording->notes(), testing::Contains(HasSubstr("removed by the limit")));
  const auto replay = sim::ReplayRecording(read.source, support::Builtins());
  ASSERT_TRUE(replay.has_value()) << replay.error().ToString();
  EXPECT_GT(replay->decisions, 40U);
  EXPECT_LT(replay->decisions, 1000U);
  EXPECT_EQ(replay->different, 0U) << replay->first_difference;
  EXPECT_EQ(replay->states_different, 0U) << replay->first_gap;
}

// Without the option two generations stay, as before, and no decisions.
TEST(Recording, NothingIsRecordedUnlessAsked) {
  TempDir folder;
  Life life(folder.path(), support::TestCluster(), 0);
  life.List({NodeDelta("n0", 64'000, 8)});
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(life.service->WriteSnapshot().has_value());
  EXPECT_TRUE(life.Reserve(PodOf(1, 100, 1, 100), true).has_lease());
  life.Stop();
  const Read read = ReadFolder(life.cluster());
  EXPECT_EQ(read.recording->generations().size(), 2U);
  EXPECT_FALSE(fs::exists(life.cluster() + "/decisions-6"));
  // The journal alone is decided again, too.
  const auto replay = sim::ReplayRecording(read.source, support::Builtins());
  ASSERT_TRUE(replay.has_value()) << replay.error().ToString();
  EXPECT_EQ(replay->without_decisions, 2U);
  EXPECT_EQ(replay->decisions, 1U);
  EXPECT_EQ(replay->different, 0U);
}

const sim::WhatIfRun& RunOf(const sim::WhatIf& what, const std::string& name) {
  for (const sim::WhatIfRun& run : what.runs) {
    if (run.name == name) return run;
  }
  ADD_FAILURE() << "no run " << name;
  return what.runs.front();
}

// Four cards, spread: four halves take one card each, and two whole cards find none. Packed, the
// halves need two cards.
TEST(Recording, AnotherPolicyPlacesWhatSpreadingStranded) {
  TempDir folder;
  service::ClusterConfig config = support::TestCluster();
  config.policy = "spread";
  Life life(folder.path(), config, kPlenty);
  life.List({NodeDelta("n0", 16'000, 1), NodeDelta("n1", 16'000, 1), NodeDelta("n2", 16'000, 1),
             NodeDelta("n3", 16'000, 1)});
  for (std::uint64_t p = 1; p <= 4; ++p) {
    life.Wait(10);
    EXPECT_TRUE(life.Reserve(PodOf(p, 1000, 1, 500), true).has_lease());
  }
  for (std::uint64_t p = 5; p <= 6; ++p) {
    life.Wait(10);
    EXPECT_FALSE(life.Reserve(PodOf(p, 1000, 1, 1000), true).has_lease());
  }
  // A first half ends 100 s later; a stranger comes; then nothing more for 100 s.
  life.Wait(100);
  life.Tell({GoneDelta(1)});
  life.Wait(100);
  life.Tell({PodDelta(PodOf(9, 100, 0, 0), "n3")});
  life.Stop();
  const Read read = ReadFolder(life.cluster());
  const auto what = sim::DriveRecording(read.source, support::Builtins(), {"spread", "best-fit"});
  ASSERT_TRUE(what.has_value()) << what.error().ToString();
  EXPECT_EQ(what->foreign_pods, 1);
  EXPECT_EQ(what->there_before, 0);
  const sim::WhatIfRun& was = RunOf(*what, sim::kAsItHappened);
  const sim::WhatIfRun& spread = RunOf(*what, "spread");
  const sim::WhatIfRun& packed = RunOf(*what, "best-fit");
  EXPECT_EQ(was.arrivals, 6);
  EXPECT_EQ(was.placed, 4);
  EXPECT_EQ(was.waiting, 2);
  // That day nobody asked again when pod 1 ended and left a whole card: driven, the first of the
  // two takes it, 150 s after it came (it came at 10 s x 5, pod 1 ended at 160 s).
  EXPECT_EQ(spread.placed, 5);
  EXPECT_EQ(spread.waiting, 1);
  EXPECT_DOUBLE_EQ(spread.wait.max, 110);
  EXPECT_EQ(packed.placed, 6);
  EXPECT_EQ(packed.waiting, 0);
  EXPECT_DOUBLE_EQ(packed.wait.max, 0);
  EXPECT_EQ(packed.running, 5);
  EXPECT_GT(packed.allocation_pct, spread.allocation_pct);
  EXPECT_LT(packed.stranded_pct, spread.stranded_pct);
  // 4 cards; at the end 3 halves and the whole one run: 2.5 of 4, and packed 3 halves, 2 wholes.
  EXPECT_DOUBLE_EQ(spread.end_allocation_pct, 62.5);
  EXPECT_DOUBLE_EQ(packed.end_allocation_pct, 87.5);
  EXPECT_DOUBLE_EQ(was.end_allocation_pct, 37.5);
}

TEST(Recording, EveryPodIsAccountedFor) {
  std::int64_t placed = 0, waiting = 0, withdrawn = 0;
  for (int i = 0; i < support::Scaled(12); ++i) {
    const auto seed = static_cast<std::uint64_t>(500 + i);
    TempDir folder;
    Life life(folder.path(), DayCluster(seed), kPlenty);
    Day day(&life, seed);
    day.Run(200, true);
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
    life.Stop();
    const Read read = ReadFolder(life.cluster());
    const std::vector<std::string> policies{"binpack", "spread", "fgd", "random"};
    const auto what = sim::DriveRecording(read.source, support::Builtins(), policies);
    ASSERT_TRUE(what.has_value()) << what.error().ToString() << " seed " << seed;
    ASSERT_EQ(what->runs.size(), 5U);
    const auto again = sim::DriveRecording(read.source, support::Builtins(), policies);
    for (std::size_t r = 0; r < what->runs.size(); ++r) {
      const sim::WhatIfRun& run = what->runs[r];
      ASSERT_EQ(run.arrivals, run.placed + run.waiting + run.refused + run.withdrawn)
          << "seed " << seed << " " << run.name;
      ASSERT_EQ(run.arrivals, what->runs[0].arrivals);
      ASSERT_LE(run.running, run.placed);
      ASSERT_GE(run.gangs, run.gangs_placed);
      ASSERT_EQ(run.decision_digest, again->runs[r].decision_digest);
      if (r == 0) continue;
      placed += run.placed;
      waiting += run.waiting;
      withdrawn += run.withdrawn;
    }
  }
  EXPECT_GT(placed, support::Scaled(100));
  EXPECT_GT(waiting + withdrawn, support::Scaled(10));
}

}  // namespace
}  // namespace basalt
