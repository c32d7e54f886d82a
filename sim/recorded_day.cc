#include "sim/recorded_day.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

namespace basalt::sim {
namespace {

// Reads twice: who was ever asked for must be known before it is known whose binding is foreign.
class DayReader {
 public:
  explicit DayReader(RecordedDay* day) : day_(*day) {}

  // What the day begins with stays where it is, also when it is asked for again.
  Status Before(const std::string& snapshot) {
    const Result<SnapshotContents> contents = DecodeSnapshot(snapshot);
    if (!contents) return tl::unexpected<Error>(contents.error());
    for (const SnapshotAllocation& a : contents->allocations) {
      before_.insert(a.uid);
      if (a.shape >= contents->shapes.size()) return Fail("snapshot", "an unknown shape");
      Foreign(a.uid, contents->shapes[a.shape], a.standing, a.node, contents->now);
    }
    day_.there_before = static_cast<std::int64_t>(before_.size());
    return {};
  }

  void Asked(const RecordedSegment& segment) {
    for (const JournalRecord& record : segment.journal.records) {
      if (const auto* r = std::get_if<ReservedRecord>(&record.body)) asked_.insert(r->uid);
      if (const auto* r = std::get_if<DecisionRecord>(&record.body)) asked_.insert(r->uid);
      if (const auto* r = std::get_if<GangReservedRecord>(&record.body)) AskedGang(r->gang);
      if (const auto* r = std::get_if<GangDecisionRecord>(&record.body)) AskedGang(r->gang);
      if (const auto* r = std::get_if<NominatedRecord>(&record.body)) {
        if (const auto* pod = std::get_if<ReservedRecord>(&r->places)) asked_.insert(pod->uid);
      }
    }
    for (const DecisionEntry& entry : segment.decisions) {
      if (const auto* d = std::get_if<RecordedDecision>(&entry.body)) asked_.insert(d->ask.uid);
      if (const auto* g = std::get_if<RecordedGangDecision>(&entry.body)) AskedGang(g->gang);
    }
    std::erase_if(asked_, [this](const PodUid& uid) { return before_.contains(uid); });
  }

  Status Read(const RecordedSegment& segment) {
    shapes_.clear();
    decided_shapes_.clear();
    std::size_t next = 0;
    const auto& records = segment.journal.records;
    for (std::size_t i = 0; i <= records.size(); ++i) {
      for (; next < segment.decisions.size() && segment.decisions[next].after <= i; ++next) {
        if (Status ok = Entry(segment.decisions[next]); !ok) {
          return Fail(fmt::format("decisions-{}", segment.generation), ok.error().message);
        }
      }
      if (i == records.size()) break;
      if (Status ok = Record(records[i]); !ok) {
        return Fail(fmt::format("journal-{}: record {}", segment.generation, i),
                    ok.error().message);
      }
    }
    return {};
  }

 private:
  bool BeganBefore(const GangSpecRecord& gang) const {
    return std::any_of(gang.pods.begin(), gang.pods.end(),
                       [this](const PodUid& uid) { return before_.contains(uid); });
  }
  void AskedGang(const GangSpecRecord& gang) {
    if (BeganBefore(gang)) return;
    for (const PodUid& pod : gang.pods) asked_.insert(pod);
  }
  void Note(SimTime now) {
    if (now.us == 0) return;
    if (day_.begin.us == 0) day_.begin = now;
    day_.end = std::max(day_.end, now);
  }
  DayPod& PodOf(const PodUid& uid, SimTime now) {
    const auto [it, is_new] = by_uid_.try_emplace(uid, day_.pods.size());
    if (is_new) {
      DayPod pod;
      pod.uid = uid;
      pod.arrived_us = now.us;
      day_.pods.push_back(std::move(pod));
    }
    return day_.pods[it->second];
  }
  void Foreign(const PodUid& uid, const RequestSpec& spec, const Standing& standing,
               const std::string& node, SimTime now) {
    const auto [it, is_new] = foreign_at_.try_emplace(uid, day_.foreign.size());
    if (is_new) {
      DayPod pod;
      pod.uid = uid;
      pod.spec = spec;
      pod.standing = standing;
      pod.arrived_us = pod.held_us = now.us;
      day_.foreign.push_back(std::move(pod));
    }
    day_.foreign[it->second].node = node;
  }
  void ForeignEnded(const PodUid& uid, SimTime now) {
    const auto it = foreign_at_.find(uid);
    if (it != foreign_at_.end()) day_.foreign[it->second].ended_us = now.us;
  }
  DayPod* Find(const PodUid& uid) {
    const auto it = by_uid_.find(uid);
    return it == by_uid_.end() ? nullptr : &day_.pods[it->second];
  }

  static Result<RequestSpec> SpecOf(const std::vector<RequestSpec>& shapes, std::uint32_t number) {
    if (number >= shapes.size()) return Fail("", "an unknown shape");
    return shapes[number];
  }

  Status Ask(const PodUid& uid, const std::vector<RequestSpec>& shapes, std::uint32_t shape,
             std::uint64_t job, const Standing& standing, const NodeNames& nodes, SimTime now) {
    if (!asked_.contains(uid)) return {};  // seen only: who it was for is told when it is bound
    Result<RequestSpec> spec = SpecOf(shapes, shape);
    if (!spec) return tl::unexpected<Error>(spec.error());
    DayPod& pod = PodOf(uid, now);
    if (pod.gang >= 0) return {};
    pod.spec = std::move(*spec);
    pod.job = job;
    pod.standing = standing;
    pod.nodes = nodes;
    // One node alone is where the host's scheduler went on to put it, not a wish of the pod.
    if (pod.nodes.only.size() == 1) pod.nodes.only.clear();
    return {};
  }

  Status AskGang(const GangSpecRecord& gang, const std::vector<RequestSpec>& shapes, SimTime now) {
    if (BeganBefore(gang)) return {};
    const auto [it, is_new] = gangs_.try_emplace(gang.uid, day_.gangs.size());
    if (!is_new) return {};
    DayGang made;
    made.spec = gang;
    made.arrived_us = now.us;
    for (GangTask& task : made.spec.spec.tasks) {
      Result<RequestSpec> spec = SpecOf(shapes, task.shape.value());
      if (!spec) return tl::unexpected<Error>(spec.error());
      task.shape = ShapeId(static_cast<std::uint32_t>(made.specs.size()));
      made.specs.push_back(std::move(*spec));
    }
    for (std::size_t m = 0; m < gang.pods.size(); ++m) {
      DayPod& pod = PodOf(gang.pods[m], now);
      const std::size_t task = made.spec.spec.TaskOf(static_cast<std::int32_t>(m));
      pod.spec = made.specs[task];
      pod.job = gang.job;
      pod.standing = gang.standing;
      pod.gang = static_cast<std::int32_t>(it->second);
      made.arrived_us = std::min(made.arrived_us, pod.arrived_us);
      made.pods.push_back(by_uid_.at(gang.pods[m]));
    }
    day_.gangs.push_back(std::move(made));
    return {};
  }

  void Hold(const PodUid& uid, const std::string& node, SimTime now) {
    DayPod& pod = PodOf(uid, now);
    if (pod.held_us >= 0 && pod.ended_us < 0) {  // moved, or seen where it was reserved
      pod.node = node;
      return;
    }
    pod.held_us = now.us;
    pod.ended_us = -1;
    pod.deleted_us = -1;
    pod.node = node;
  }
  void End(const PodUid& uid, SimTime now) {
    DayPod* pod = Find(uid);
    if (pod == nullptr) return;
    if (pod->held_us >= 0 && pod->ended_us < 0) {
      pod->ended_us = now.us;
    } else if (pod->held_us < 0 && pod->deleted_us < 0) {
      pod->deleted_us = now.us;
    }
  }
  // What was given back without having run: it waits again.
  void GiveBack(const PodUid& uid) {
    DayPod* pod = Find(uid);
    if (pod == nullptr || pod->ended_us >= 0) return;
    pod->held_us = -1;
    pod->node.clear();
  }

  Status Entry(const DecisionEntry& entry) {
    Note(entry.now);
    if (const auto* shape = std::get_if<RecordedShape>(&entry.body)) {
      decided_shapes_.push_back(shape->spec);
    } else if (const auto* d = std::get_if<RecordedDecision>(&entry.body)) {
      return Ask(d->ask.uid, decided_shapes_, d->ask.shape, d->ask.job, d->ask.standing,
                 d->ask.nodes, entry.now);
    } else if (const auto* g = std::get_if<RecordedGangDecision>(&entry.body)) {
      return AskGang(g->gang, decided_shapes_, entry.now);
    } else if (const auto* seen = std::get_if<RecordedSeen>(&entry.body)) {
      return Ask(seen->ask.uid, decided_shapes_, seen->ask.shape, seen->ask.job, seen->ask.standing,
                 seen->ask.nodes, entry.now);
    } else if (const auto* gone = std::get_if<RecordedGone>(&entry.body)) {
      End(gone->uid, entry.now);
    }
    return {};
  }

  Status Record(const JournalRecord& record) {
    Note(record.now);
    const SimTime now = record.now;
    if (const auto* policy = std::get_if<PolicyRecord>(&record.body)) {
      shapes_.clear();
      if (day_.head.expression.empty()) day_.head = *policy;
    } else if (const auto* shape = std::get_if<ShapeRecord>(&record.body)) {
      shapes_.push_back(shape->spec);
    } else if (const auto* reserved = std::get_if<ReservedRecord>(&record.body)) {
      return Reserved(*reserved, now);
    } else if (const auto* refused = std::get_if<DecisionRecord>(&record.body)) {
      return Ask(refused->uid, shapes_, refused->shape, refused->job, refused->standing,
                 refused->nodes, now);
    } else if (const auto* gang = std::get_if<GangReservedRecord>(&record.body)) {
      return Reserved(*gang, now);
    } else if (const auto* refused_gang = std::get_if<GangDecisionRecord>(&record.body)) {
      return AskGang(refused_gang->gang, shapes_, now);
    } else if (const auto* nominated = std::get_if<NominatedRecord>(&record.body)) {
      const auto* pod = std::get_if<ReservedRecord>(&nominated->places);
      if (pod != nullptr) return Reserved(*pod, now);
      return Reserved(std::get<GangReservedRecord>(nominated->places), now);
    } else if (const auto* confirmed = std::get_if<ConfirmedRecord>(&record.body)) {
      confirmed_.insert(confirmed->uid);
    } else if (const auto* gang_confirmed = std::get_if<GangConfirmedRecord>(&record.body)) {
      ForMembers(gang_confirmed->uid, [this](const PodUid& pod) { confirmed_.insert(pod); });
    } else if (const auto* released = std::get_if<ReleasedRecord>(&record.body)) {
      Released(released->uid, now);
    } else if (const auto* expired = std::get_if<ExpiredRecord>(&record.body)) {
      Expired(expired->uid);
    } else if (const auto* gang_released = std::get_if<GangReleasedRecord>(&record.body)) {
      ForMembers(gang_released->uid, [this, now](const PodUid& pod) { Released(pod, now); });
    } else if (const auto* event = std::get_if<EventRecord>(&record.body)) {
      Observed(event->event, now);
    }
    return {};
  }

  template <class Fn>
  void ForMembers(const PodUid& gang, Fn fn) {
    const auto it = gangs_.find(gang);
    if (it == gangs_.end()) return;
    const std::vector<PodUid> pods = day_.gangs[it->second].spec.pods;
    for (const PodUid& pod : pods) fn(pod);
  }

  // A gang's lease expires as a whole, in the name of one of its pods.
  void Expired(const PodUid& uid) {
    const auto lease = lease_of_.find(uid);
    if (lease == lease_of_.end()) return GiveBack(uid);
    const std::vector<PodUid> members = leases_[lease->second];
    for (const PodUid& pod : members) {
      if (!confirmed_.contains(pod)) GiveBack(pod);
    }
  }
  void Released(const PodUid& uid, SimTime now) {
    if (Find(uid) == nullptr) {
      ForeignEnded(uid, now);
      day_.events.push_back({now.us, PodGone{uid, false}});
    } else if (confirmed_.contains(uid)) {
      End(uid, now);
    } else {
      GiveBack(uid);
    }
  }

  Status Reserved(const ReservedRecord& r, SimTime now) {
    if (Status ok = Ask(r.uid, shapes_, r.shape, r.job, r.standing, r.nodes, now); !ok) return ok;
    confirmed_.erase(r.uid);
    lease_of_.erase(r.uid);
    if (before_.contains(r.uid)) return {};
    Hold(r.uid, r.node, now);
    return {};
  }
  Status Reserved(const GangReservedRecord& g, SimTime now) {
    if (Status ok = AskGang(g.gang, shapes_, now); !ok || BeganBefore(g.gang)) return ok;
    std::vector<PodUid> members;
    for (const GangReservedRecord::Member& m : g.members) {
      members.push_back(g.gang.pods[static_cast<std::size_t>(m.member)]);
    }
    for (std::size_t m = 0; m < members.size(); ++m) {
      confirmed_.erase(members[m]);
      lease_of_[members[m]] = leases_.size();
      Hold(members[m], g.members[m].node, now);
    }
    leases_.push_back(std::move(members));
    return {};
  }

  void Observed(const Event& event, SimTime now) {
    if (const auto* pod = std::get_if<PodObserved>(&event)) {
      if (!asked_.contains(pod->uid)) {
        if (!before_.contains(pod->uid) && foreign_.insert(pod->uid).second) ++day_.foreign_pods;
        Foreign(pod->uid, pod->spec, pod->standing, pod->node, now);
        day_.events.push_back({now.us, event});
        return;
      }
      confirmed_.insert(pod->uid);
      Hold(pod->uid, pod->node, now);
      return;
    }
    if (const auto* gone = std::get_if<PodGone>(&event)) {
      if (Find(gone->uid) == nullptr) {  // foreign, or there before
        ForeignEnded(gone->uid, now);
        day_.events.push_back({now.us, event});
      } else {
        End(gone->uid, now);
      }
      return;
    }
    if (std::get_if<PodCheckpointed>(&event) != nullptr) return;  // of evictions
    if (const auto* removed = std::get_if<NodeRemoved>(&event)) {
      for (DayPod& pod : day_.pods) {
        if (pod.node == removed->node && pod.held_us >= 0 && pod.ended_us < 0) {
          pod.ended_us = now.us;
        }
      }
    }
    day_.events.push_back({now.us, event});
  }

  RecordedDay& day_;
  std::set<PodUid> before_, asked_, foreign_, confirmed_;
  std::map<PodUid, std::size_t> by_uid_, gangs_, lease_of_, foreign_at_;
  std::vector<std::vector<PodUid>> leases_;  // of gangs
  std::vector<RequestSpec> shapes_, decided_shapes_;
};

}  // namespace

Result<RecordedDay> ReadDay(const SegmentSource& source) {
  RecordedDay day;
  DayReader reader(&day);
  for (std::size_t s = 0; s < source.segments; ++s) {
    const Result<RecordedSegment> segment = source.read(s);
    if (!segment) return tl::unexpected<Error>(segment.error());
    if (s == 0) {
      if (Status ok = reader.Before(segment->snapshot); !ok) {
        return tl::unexpected<Error>(ok.error());
      }
    }
    reader.Asked(*segment);
  }
  for (std::size_t s = 0; s < source.segments; ++s) {
    Result<RecordedSegment> segment = source.read(s);
    if (!segment) return tl::unexpected<Error>(segment.error());
    if (s == 0) day.snapshot = segment->snapshot;
    if (Status ok = reader.Read(*segment); !ok) return tl::unexpected<Error>(ok.error());
  }
  if (day.head.expression.empty()) {
    return Fail("the recording", "holds nothing but a snapshot: nothing happened in it");
  }
  return day;
}

}  // namespace basalt::sim
