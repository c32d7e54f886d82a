// Everything that a server asks of one engine, in random order: choices of nodes, leases with times
// of their own that are renewed, nodes described anew, victims, other policies, journals begun
// anew, crashes that lose the end of the journal. Beside the engine a plain list of the leases that
// were given says who lives at each moment, and every book is added up again after each step.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "scheduler-core/base/rng.h"
#include "scheduler-core/engine/engine.h"
#include "sim/simulator.h"
#include "test/support/cluster.h"
#include "test/support/gangs.h"
#include "test/support/node_choices.h"

namespace basalt {
namespace {

using support::DrawChoice;
using support::NamedChoice;
using support::Uid;

constexpr const char* kPolicies[] = {"binpack", "spread", "best-fit", "spread-job(fgd)", "random"};
constexpr std::int64_t kTtl = 30;
// As a server does: what it gives after a restart is above all that it may have given before.
constexpr std::uint64_t kEpochsOfABoot = std::uint64_t{1} << 32;

// All that was ever journaled, and what was since the last snapshot.
struct Tee : JournalSink {
  JournalBuffer* whole = nullptr;
  JournalBuffer* since = nullptr;
  void Append(const JournalRecord& record) override {
    whole->Append(record);
    since->Append(record);
  }
};

class History {
 public:
  explicit History(std::uint64_t seed) : rng_(seed, 77), seed_(seed) {
    tee_.whole = &whole;
    since_ = std::make_unique<JournalBuffer>();
    tee_.since = since_.get();
    policy_ = kPolicies[seed % 5];
    engine = support::MakeEngine(policy_, {}, Options());
    Must(engine->Apply(CardRulesSet{A30()}, now_));
    for (int n = 0; n < 6; ++n) {
      specs_.push_back(NodeOf(n));
      Must(engine->Apply(NodeAdded{specs_.back()}, now_));
    }
    for (const char* name : {"a", "b"}) {
      QueueSpec queue;
      queue.name = name;
      queue.guarantee = {{"gpu", 3000}};
      queue.capacity = {{"gpu", 14'000}};
      if (name[0] == 'b' && seed % 3 == 0) queue.slots = {{4, 1, ""}};
      Must(engine->Apply(QueueSet{queue}, now_));
    }
  }

  void Step(std::int64_t at, bool restarts) {
    now_ = SimTime{at};
    engine->Expire(now_);
    ASSERT_NO_FATAL_FAILURE(CheckLeases());
    const std::uint32_t what = rng_.Below(40);
    if (what < 12) {
      ASSERT_NO_FATAL_FAILURE(Pod());
    } else if (what < 18) {
      ASSERT_NO_FATAL_FAILURE(TheGang());
    } else if (what < 25) {
      ASSERT_NO_FATAL_FAILURE(RenewOne());
    } else if (what < 28) {
      ASSERT_NO_FATAL_FAILURE(ConfirmOne());
    } else if (what < 30) {
      ReleaseOne();
    } else if (what < 36) {
      ASSERT_NO_FATAL_FAILURE(Describe());
    } else if (what < 37) {
      NodeGoesOrComes();
    } else if (what < 38) {
      const auto& name = specs_[rng_.Below(6)].name;
      (void)engine->Apply(NodeCordoned{name, rng_.Below(2) == 0}, now_);
    } else if (what < 39) {
      policy_ = kPolicies[rng_.Below(5)];
      Must(engine->SetPolicy(support::Policy(policy_), support::SmallTarget(), now_));
    } else if (restarts) {
      rng_.Below(2) == 0 ? Compact() : Crash();
    }
    Forget();
    const Status audit = engine->Audit();
    ASSERT_TRUE(audit.has_value()) << audit.error().ToString();
    ASSERT_EQ(support::CheckDerived(engine->state()), "");
  }

  std::unique_ptr<Engine> engine;
  JournalBuffer whole;
  std::map<std::string, std::int64_t> count;  // how often something happened

 private:
  struct Open {
    Lease lease;
    bool gang = false;
    bool confirmed = false;
  };

  static CardRules A30() {
    CardRules rules;
    rules.model = "A30";
    rules.vendor = "nvidia";
    rules.mig_slots = 4;
    rules.mig = {{"1g.6gb", 5952, 250, 1, {0, 1, 2, 3}, false},
                 {"2g.12gb", 11'968, 500, 2, {0, 2}, false}};
    return rules;
  }
  static void Must(const Status& ok) { EXPECT_TRUE(ok.has_value()) << ok.error().ToString(); }

  EngineOptions Options() {
    EngineOptions options;
    options.seed = seed_;
    options.lease_ttl_us = kTtl;
    options.tier_names = {{support::kRack, "rack"}};
    options.target = support::SmallTarget();
    options.journal = &tee_;
    return options;
  }

  CardSpec CardOf(const std::string& uuid) {
    CardSpec card;
    card.uuid = uuid;
    card.model = rng_.Below(3) == 0 ? "A30" : "T4";
    card.memory_mib = 24'576;
    if (card.model == "A30" && rng_.Below(2) == 0) card.mode = CardMode::kMig;
    if (card.model == "T4" && rng_.Below(4) == 0) card.slots = 2;
    if (card.model == "T4" && rng_.Below(4) == 0) card.memory_ratio_percent = 150;
    return card;
  }
  NodeSpec NodeOf(int n) {
    NodeSpec node = support::Node("n" + std::to_string(n), 4000 + 2000 * (n % 3), 0);
    node.rank = (n * 5) % 7;
    for (int c = 0; c < 2 + n % 3; ++c) {
      node.cards.push_back(CardOf("u" + std::to_string(n) + "-" + std::to_string(c)));
    }
    node.network = {{support::kRack, "r" + std::to_string(n % 2)}};
    return node;
  }

  RequestSpec Spec() {
    const std::uint32_t part = rng_.Below(2) == 0 ? 1000 : 250 * (1 + rng_.Below(3));
    RequestSpec spec = support::Ask(500 * rng_.Below(3), 1, static_cast<MilliGpu>(part));
    if (rng_.Below(8) == 0) spec.gpus = spec.gpu_milli = 0;
    if (spec.gpus == 0) return spec;
    if (rng_.Below(5) == 0) spec.gpus = 2;
    if (rng_.Below(5) == 0) {
      spec.gpu_milli = 0;
      spec.mig_profile = rng_.Below(2) == 0 ? "1g.6gb" : "2g.12gb";
    } else if (rng_.Below(3) == 0 && spec.gpu_milli < 1000) {
      spec.gpu_memory_mib = 4000 + 4000 * rng_.Below(3);
    }
    if (rng_.Below(4) == 0) spec.models = {rng_.Below(2) == 0 ? "T4" : "A30"};
    if (rng_.Below(6) == 0) spec.node_selector = {{"zone", rng_.Below(2) == 0 ? "x" : "y"}};
    if (rng_.Below(6) == 0) spec.nouse_uuids = {"u1-0", "u2-1"};
    return spec;
  }
  Standing Who() {
    Standing standing;
    standing.queue = rng_.Below(3) == 0 ? "" : rng_.Below(2) == 0 ? "a" : "b";
    standing.priority = static_cast<std::int32_t>(rng_.Below(4));
    standing.preemptible = rng_.Below(5) != 0;
    return standing;
  }
  std::string NameOf(NodeId node) const { return engine->state().name(node); }

  // What was given is new, and ends when it was asked to.
  void Given(const Lease& lease, bool gang, std::int64_t ttl) {
    ASSERT_TRUE(epochs_.insert(lease.epoch).second) << "epoch " << lease.epoch << " twice";
    ASSERT_EQ(*epochs_.rbegin(), lease.epoch);
    ASSERT_EQ(lease.expires, now_.Plus(ttl == 0 ? kTtl : ttl));
    open_[lease.uid] = Open{lease, gang};
    if (rng_.Below(2) == 0) {
      Must(gang ? engine->ConfirmGang(lease, now_) : engine->Confirm(lease, now_));
      open_[lease.uid].confirmed = true;
    }
  }

  void Pod() {
    const NamedChoice choice = DrawChoice(rng_, *engine);
    Request pod = support::For(*engine, Spec(), ++uids_, 0, rng_.Below(4));
    pod.standing = Who();
    pod.nodes = choice.In(*engine);
    const Outcome outcome = engine->Propose(pod, now_);
    if (rng_.Below(3) == 0) {
      ASSERT_NO_FATAL_FAILURE(DecidedAlike(pod, choice, outcome));
    }
    if (outcome.placed()) {
      ASSERT_TRUE(choice.Allows(NameOf(outcome.placement.node)));
      for (const Placement& other : engine->Alternatives(pod, outcome, 3)) {
        ASSERT_TRUE(choice.Allows(NameOf(other.node)));
        ASSERT_NE(other.node, outcome.placement.node);
      }
      const std::int64_t ttl = rng_.Below(3) == 0 ? 0 : 1 + rng_.Below(60);
      const auto lease = engine->Reserve(pod, outcome.placement, now_, ttl);
      ASSERT_TRUE(lease.has_value()) << lease.error().ToString();
      ++count["placed"];
      return Given(*lease, false, ttl);
    }
    if (rng_.Below(2) == 0) return;
    const EvictionPlan plan = engine->ProposeEviction(pod, {}, now_);
    if (!plan.found) return;
    ASSERT_TRUE(choice.Allows(NameOf(plan.placement.node)));
    const auto lease = engine->Nominate(pod, plan, now_);
    ASSERT_TRUE(lease.has_value()) << lease.error().ToString();
    ASSERT_TRUE(epochs_.insert(lease->epoch).second);
    ++count["nominated"];
  }

  // An engine that looks at every node places it there, too; and a gang of one is placed, waits or
  // is hopeless as the pod is.
  void DecidedAlike(const Request& pod, const NamedChoice& choice, const Outcome& outcome) {
    EngineOptions options = Options();
    options.journal = nullptr;
    options.scan_every_node = true;
    auto scan = Engine::Restore(engine->Snapshot(), support::Policy(policy_), options);
    ASSERT_TRUE(scan.has_value()) << scan.error().ToString();
    Request same = pod;
    same.shape = *(*scan)->InternShape(engine->state().shape(pod.shape).spec);
    same.nodes = choice.In(**scan);
    const Outcome other = (*scan)->Propose(same, now_);
    ASSERT_EQ(NodeNameOf(**scan, other), NodeNameOf(*engine, outcome));
    ASSERT_EQ(other.placement.cards, outcome.placement.cards);
    GangRequest gang;
    gang.uid = Uid(500'000);
    gang.standing = pod.standing;
    gang.spec.tasks.push_back({"", same.shape, 1, 1, -1});
    gang.nodes = same.nodes;
    const auto one = (*scan)->ProposeGang(gang, now_);
    ASSERT_TRUE(one.has_value()) << one.error().ToString();
    // Within a queue's limits a gang may find cards where for a pod only the best are looked at.
    if (pod.standing.queue.empty()) {
      ASSERT_EQ(one->kind, outcome.kind) << one->reason << " / " << outcome.reason;
    }
    for (const GangOutcome::Member& m : one->members) {
      ASSERT_TRUE(choice.Allows((*scan)->state().name(m.placement.node)));
    }
    ++count["alike"];
  }
  // So does an engine that has only just begun with this state.
  void GangDecidedAlike(GangRequest gang, const NamedChoice& all,
                        const std::vector<NamedChoice>& own, const GangOutcome& outcome) {
    EngineOptions options = Options();
    options.journal = nullptr;
    auto fresh = Engine::Restore(engine->Snapshot(), support::Policy(policy_), options);
    ASSERT_TRUE(fresh.has_value()) << fresh.error().ToString();
    for (GangTask& task : gang.spec.tasks) {
      task.shape = *(*fresh)->InternShape(engine->state().shape(task.shape).spec);
    }
    gang.nodes = all.In(**fresh);
    gang.task_nodes.clear();
    for (const NamedChoice& choice : own) gang.task_nodes.push_back(choice.In(**fresh));
    const auto again = (*fresh)->ProposeGang(gang, now_);
    ASSERT_TRUE(again.has_value()) << again.error().ToString();
    ASSERT_EQ(again->kind, outcome.kind) << again->reason << " / " << outcome.reason;
    ASSERT_EQ(again->members.size(), outcome.members.size());
    for (std::size_t m = 0; m < outcome.members.size(); ++m) {
      ASSERT_EQ(again->members[m].member, outcome.members[m].member);
      ASSERT_EQ((*fresh)->state().name(again->members[m].placement.node),
                NameOf(outcome.members[m].placement.node));
      ASSERT_EQ(again->members[m].placement.cards, outcome.members[m].placement.cards);
    }
    ++count["gangs alike"];
  }
  static std::string NodeNameOf(const Engine& e, const Outcome& outcome) {
    return support::NodeName(e, outcome);
  }

  void TheGang() {
    const NamedChoice all = DrawChoice(rng_, *engine);
    std::vector<NamedChoice> own;
    GangRequest gang;
    gang.uid = Uid(100'000 + (rng_.Below(3) == 0 ? ++uids_ : rng_.Below(4)));
    const Gang* held = engine->FindGang(gang.uid);
    if (held != nullptr) {  // grows or is repaired: as it is
      gang.spec = held->spec;
      gang.standing = held->standing;
      gang.attempt = held->attempt;
    } else {
      gang.standing = Who();
      for (std::uint32_t t = 1 + rng_.Below(2); t > 0; --t) {
        const auto min = static_cast<std::int32_t>(1 + rng_.Below(2));
        gang.spec.tasks.push_back({"", *engine->InternShape(Spec()), min,
                                   min + static_cast<std::int32_t>(rng_.Below(3)), -1});
      }
      if (rng_.Below(3) == 0) gang.spec.level = {0, support::kRack};
    }
    gang.nodes = all.In(*engine);
    if (rng_.Below(2) == 0) {
      for (std::size_t t = 0; t < gang.spec.tasks.size(); ++t) {
        own.push_back(DrawChoice(rng_, *engine));
        gang.task_nodes.push_back(own.back().In(*engine));
      }
    }
    const auto allowed = [&](const GangOutcome::Member& m) {
      const std::string name = NameOf(m.placement.node);
      return all.Allows(name) && (own.empty() || own[gang.spec.TaskOf(m.member)].Allows(name));
    };
    const auto outcome = engine->ProposeGang(gang, now_);
    ASSERT_TRUE(outcome.has_value()) << outcome.error().ToString();
    if (rng_.Below(3) == 0) {
      ASSERT_NO_FATAL_FAILURE(GangDecidedAlike(gang, all, own, *outcome));
    }
    if (outcome->placed() && !outcome->members.empty()) {
      for (const GangOutcome::Member& m : outcome->members) ASSERT_TRUE(allowed(m));
      const std::int64_t ttl = rng_.Below(3) == 0 ? 0 : 1 + rng_.Below(60);
      const auto lease = engine->ReserveGang(gang, *outcome, now_, ttl);
      ASSERT_TRUE(lease.has_value()) << lease.error().ToString();
      ++count[held != nullptr ? "gangs grown or repaired" : "gangs placed"];
      return Given(*lease, true, ttl);
    }
    if (outcome->placed() || rng_.Below(2) == 0) return;
    const auto plan = engine->ProposeEviction(gang, {}, now_);
    // Members that find places once victims are looked for may need none: then nobody is nominated.
    if (!plan || !plan->found || plan->victims.empty()) return;
    for (const GangOutcome::Member& m : plan->gang.members) ASSERT_TRUE(allowed(m));
    const auto lease = engine->NominateGang(gang, *plan, now_);
    ASSERT_TRUE(lease.has_value()) << lease.error().ToString();
    ASSERT_TRUE(epochs_.insert(lease->epoch).second);
    open_.erase(gang.uid);  // what it held before is confirmed
    ++count["nominated"];
  }

  Open* Any() {
    if (open_.empty()) return nullptr;
    auto it = open_.begin();
    std::advance(it, rng_.Below(static_cast<std::uint32_t>(open_.size())));
    return &it->second;
  }

  void RenewOne() {
    Open* one = Any();
    if (one == nullptr) return;
    const std::int64_t ttl = 1 + rng_.Below(60);
    const auto lease =
        one->gang ? engine->RenewGang(one->lease, ttl, now_) : engine->Renew(one->lease, ttl, now_);
    ASSERT_TRUE(lease.has_value()) << lease.error().ToString();
    ASSERT_EQ(lease->epoch, one->lease.epoch);
    if (!one->confirmed) {
      one->lease.expires = std::max(one->lease.expires, now_.Plus(ttl));
      ++count["renewed"];
    }
    ASSERT_EQ(lease->expires, one->lease.expires);
    Lease old = one->lease;  // one of an earlier boot, or of nobody
    old.epoch = old.epoch == 1 ? kEpochsOfABoot * 1000 : old.epoch - 1;
    ASSERT_FALSE(one->gang ? HeldUnder(old) : engine->Renew(old, ttl, now_).has_value());
  }
  // A gang may hold something under an earlier lease, too; else that one cannot be renewed.
  bool HeldUnder(const Lease& lease) {
    const Gang& gang = *engine->FindGang(lease.uid);
    const bool holds = std::any_of(gang.pods.begin(), gang.pods.end(), [&](const PodUid& pod) {
      const Allocation* a = engine->Find(pod);
      return a != nullptr && a->gang == lease.uid && a->epoch == lease.epoch;
    });
    return !holds && engine->RenewGang(lease, 5, now_).has_value();
  }

  void ConfirmOne() {
    Open* one = Any();
    if (one == nullptr) return;
    const Status ok =
        one->gang ? engine->ConfirmGang(one->lease, now_) : engine->Confirm(one->lease, now_);
    ASSERT_TRUE(ok.has_value()) << ok.error().ToString();
    one->confirmed = true;
    ++count["confirmed"];
  }

  void ReleaseOne() {
    if (!engine->nominations().empty() && rng_.Below(2) == 0) {
      const PodUid victim = *engine->nominations().begin()->second.waiting.begin();
      Must(engine->Release(victim, now_));
      return;
    }
    const Open* one = Any();
    if (one == nullptr) return;
    if (one->gang && rng_.Below(3) != 0) {  // one member ends or fails
      const Gang& gang = *engine->FindGang(one->lease.uid);
      Must(
          engine->Apply(PodGone{gang.pods[rng_.Below(static_cast<std::uint32_t>(gang.pods.size()))],
                                rng_.Below(3) != 0},
                        now_));
      return;
    }
    Must(one->gang ? engine->ReleaseGang(one->lease.uid, now_)
                   : engine->Release(one->lease.uid, now_));
  }

  // Cards change places, go and come back, others come; sizes, labels, racks and ranks change.
  void Describe() {
    NodeSpec& node = specs_[rng_.Below(6)];
    if (!engine->state().FindNode(node.name).valid()) return;
    for (std::uint32_t n = 1 + rng_.Below(2); n > 0; --n) {
      const std::uint32_t what = rng_.Below(9);
      if (what < 2) {
        node.labels = {{"zone", rng_.Below(2) == 0 ? "x" : "y"}};
      } else if (what < 3 && !node.cards.empty()) {
        std::rotate(node.cards.begin(), node.cards.begin() + 1, node.cards.end());
      } else if (what < 4 && !node.cards.empty()) {
        node.cards.pop_back();
      } else if (what < 5 && node.cards.size() < 5) {
        node.cards.push_back(CardOf(node.name + "-new" + std::to_string(++names_)));
      } else if (what < 6 && !node.cards.empty()) {
        CardSpec& card = node.cards[rng_.Below(static_cast<std::uint32_t>(node.cards.size()))];
        card = CardOf(card.uuid);
      } else if (what < 7) {
        node.network = {{support::kRack, "r" + std::to_string(rng_.Below(3))}};
      } else if (what < 8) {
        node.cpu_milli = 2000 + 1000 * rng_.Below(8);
      } else {
        node.rank = rng_.Below(9);
      }
    }
    const std::size_t before = engine->allocation_count();
    const Status ok = engine->Apply(NodeChanged{node}, now_);
    ASSERT_TRUE(ok.has_value()) << ok.error().ToString();
    ++count["described"];
    count["lost by that"] += static_cast<std::int64_t>(before - engine->allocation_count());
  }

  void NodeGoesOrComes() {
    const NodeSpec& node = specs_[rng_.Below(6)];
    if (engine->state().FindNode(node.name).valid()) {
      Must(engine->Apply(NodeRemoved{node.name}, now_));
    } else {
      Must(engine->Apply(NodeAdded{node}, now_));
    }
  }

  // A snapshot, and a fresh journal after it.
  void Compact() {
    snapshot_ = engine->Snapshot();
    since_ = std::make_unique<JournalBuffer>();
    tee_.since = since_.get();
    engine->RestartJournal(&tee_);
    ++count["compacted"];
  }

  // From the last snapshot and what of the journal was written.
  void Crash() {
    if (snapshot_.empty()) return;
    const auto read = ReadJournal(since_->bytes());
    ASSERT_TRUE(read.has_value() && read->tail_problem.empty());
    std::vector<JournalRecord> records = read->records;
    const std::size_t lost =
        std::min<std::size_t>(rng_.Below(2) == 0 ? 0 : rng_.Below(12), records.size());
    records.resize(records.size() - lost);
    EngineOptions options = Options();
    options.journal = nullptr;
    auto again = Engine::Restore(snapshot_, support::Policy(policy_), options);
    ASSERT_TRUE(again.has_value()) << again.error().ToString();
    for (const JournalRecord& record : records) {
      const Status ok = (*again)->ApplyRecord(record);
      ASSERT_TRUE(ok.has_value()) << ok.error().ToString();
    }
    if (lost == 0) {
      ASSERT_EQ((*again)->StateDigest(), engine->StateDigest());
    }
    engine = std::move(*again);
    engine->RaiseEpoch(++boots_ * kEpochsOfABoot);
    if (lost > 0) SeeAgain();
    Compact();
    ++count[lost > 0 ? "crashed, end lost" : "crashed"];
  }

  // After a loss the engine's word counts: the list is made anew from what it holds. No lease is
  // one that was not given, and none lasts longer than it was given for.
  void SeeAgain() {
    std::map<PodUid, Open> was;
    was.swap(open_);
    engine->ForEachAllocation([&](const Allocation& a) {
      EXPECT_TRUE(epochs_.contains(a.epoch));
      if (a.expires == kNever) return;
      const bool gang = a.member >= 0;
      if (gang && engine->FindGang(a.gang)->newest_epoch != a.epoch) return;
      const PodUid uid = gang ? a.gang : a.uid;
      open_[uid] = Open{Lease{uid, a.epoch, a.expires}, gang, a.confirmed};
      const auto it = was.find(uid);
      if (it != was.end() && it->second.lease.epoch == a.epoch) {
        EXPECT_LE(a.expires, it->second.lease.expires);
      }
    });
    for (NodeSpec& node : specs_) {
      const NodeId there = engine->state().FindNode(node.name);
      if (there.valid()) node = engine->state().SpecOf(there);
    }
  }

  // Who holds what by the engine's books: null, or one allocation under the lease.
  const Allocation* HeldOf(const Open& open) const {
    if (!open.gang) {
      const Allocation* a = engine->Find(open.lease.uid);
      return a != nullptr && a->epoch == open.lease.epoch ? a : nullptr;
    }
    const Gang* gang = engine->FindGang(open.lease.uid);
    if (gang == nullptr) return nullptr;
    for (const PodUid& pod : gang->pods) {
      const Allocation* a = engine->Find(pod);
      if (a != nullptr && a->gang == gang->uid && a->epoch == open.lease.epoch) return a;
    }
    return nullptr;
  }

  // By the list, whose time is up is gone, and nobody else.
  void CheckLeases() {
    for (auto it = open_.begin(); it != open_.end();) {
      const Open& open = it->second;
      const bool ended = !open.confirmed && open.lease.expires <= now_;
      const Allocation* a = HeldOf(open);
      ASSERT_EQ(a == nullptr, ended) << UidText(open.lease.uid) << " of " << open.lease.epoch;
      if (a != nullptr) {
        ASSERT_EQ(a->confirmed, open.confirmed);
        ASSERT_EQ(a->expires, open.lease.expires);
      }
      count["expired"] += ended ? 1 : 0;
      it = ended ? open_.erase(it) : std::next(it);
    }
  }

  // What was released, lost with a card or node, or given up is no longer on the list.
  void Forget() {
    std::erase_if(open_, [this](const auto& entry) { return HeldOf(entry.second) == nullptr; });
  }

  Rng rng_;
  std::uint64_t seed_;
  SimTime now_;
  Tee tee_;
  std::unique_ptr<JournalBuffer> since_;
  std::string policy_;
  std::string snapshot_;
  std::vector<NodeSpec> specs_;
  std::map<PodUid, Open> open_;
  std::set<std::uint64_t> epochs_;
  std::uint64_t uids_ = 0;
  std::uint64_t boots_ = 0;
  int names_ = 0;
};

TEST(ServerHistory, LeasesChoicesAndBooksHold) {
  std::map<std::string, std::int64_t> count;
  for (int i = 0; i < support::Scaled(150); ++i) {
    History history(static_cast<std::uint64_t>(i));
    for (int step = 0; step < 200; ++step) {
      history.Step(3 * step, true);
      ASSERT_FALSE(HasFailure()) << "seed " << i << " step " << step;
    }
    for (const auto& [what, times] : history.count) count[what] += times;
  }
  for (const auto& [what, times] : count) {
    std::printf("%s: %lld\n", what.c_str(), static_cast<long long>(times));
  }
  for (const char* what : {"placed", "gangs placed", "gangs grown or repaired", "nominated",
                           "renewed", "confirmed", "expired", "described", "alike", "compacted",
                           "crashed", "crashed, end lost", "lost by that"}) {
    EXPECT_GT(count[what], support::Scaled(50)) << what;
  }
}

// Without restarts the journal is one, and a replay decides all of it again.
TEST(ServerHistory, ReplaysDecideAlike) {
  std::uint64_t decisions = 0;
  for (int i = 0; i < support::Scaled(40); ++i) {
    History history(9000 + static_cast<std::uint64_t>(i));
    for (int step = 0; step < 150; ++step) {
      history.Step(3 * step, false);
      ASSERT_FALSE(HasFailure()) << "seed " << i << " step " << step;
    }
    const auto read = ReadJournal(history.whole.bytes());
    ASSERT_TRUE(read.has_value() && read->tail_problem.empty());
    const auto replay = sim::ReplayJournal(*read, support::Builtins());
    ASSERT_TRUE(replay.has_value()) << replay.error().ToString();
    ASSERT_EQ(replay->different, 0U) << "seed " << i << ": " << replay->first_difference;
    ASSERT_EQ(replay->state_digest, history.engine->StateDigest()) << "seed " << i;
    decisions += replay->decisions;
  }
  EXPECT_GT(decisions, static_cast<std::uint64_t>(support::Scaled(1000)));
}

}  // namespace
}  // namespace basalt
