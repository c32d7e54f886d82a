// A recording decided again, and compared.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "sim/recording.h"

namespace basalt::sim {
namespace {

class SegmentReplay {
 public:
  SegmentReplay(Engine* engine, const Registry& registry, RecordingReplay* out, Digest* recorded,
                Digest* replayed, std::uint64_t generation)
      : engine_(*engine),
        registry_(registry),
        out_(*out),
        recorded_(*recorded),
        replayed_(*replayed),
        generation_(generation) {}

  Status Run(const RecordedSegment& segment) {
    std::size_t next = 0;
    const auto& records = segment.journal.records;
    for (std::size_t i = 0; i <= records.size(); ++i) {
      for (; next < segment.decisions.size() && segment.decisions[next].after <= i; ++next) {
        if (Status ok = Decide(segment.decisions[next]); !ok) return ok;
      }
      if (i == records.size()) break;
      const JournalRecord& record = records[i];
      Note(record.now);
      if (const auto* policy = std::get_if<PolicyRecord>(&record.body);
          policy != nullptr && i > 0) {
        auto configured = registry_.Configure(policy->expression);
        if (!configured) return tl::unexpected<Error>(configured.error());
        Result<EngineOptions> options = OptionsOf(*policy);
        if (!options) return tl::unexpected<Error>(options.error());
        if (Status ok =
                engine_.SetPolicy(std::move(*configured), std::move(options->target), record.now);
            !ok) {
          return ok;
        }
      }
      if (Status ok = engine_.ApplyRecord(record); !ok) {
        return Fail(fmt::format("journal-{}: record {}", generation_, i), ok.error().ToString());
      }
    }
    // What was decided after the journal's whole part has no state to be decided on.
    return {};
  }

 private:
  void Note(SimTime now) {
    if (now.us == 0) return;  // shapes and policies have no time
    if (out_.begin.us == 0) out_.begin = now;
    out_.end = std::max(out_.end, now);
  }
  Error Bad(std::string what) const {
    return Error{fmt::format("decisions-{}", generation_), std::move(what)};
  }
  Result<Request> RequestOf(const RecordedAsk& ask) const {
    if (ask.shape >= shapes_.size()) return tl::unexpected<Error>(Bad("an unknown shape"));
    return Request{ask.uid, ask.attempt,  shapes_[ask.shape],
                   ask.job, ask.standing, ChoiceOf(engine_.state(), ask.nodes)};
  }
  Result<GangRequest> RequestOf(const GangSpecRecord& gang) const {
    GangRequest request{gang.uid,
                        gang.attempt,
                        gang.spec,
                        gang.pods,
                        gang.job,
                        gang.standing,
                        ChoiceOf(engine_.state(), gang.nodes)};
    for (const NodeNames& names : gang.task_nodes) {
      request.task_nodes.push_back(ChoiceOf(engine_.state(), names));
    }
    for (GangTask& task : request.spec.tasks) {
      if (task.shape.index() >= shapes_.size()) {
        return tl::unexpected<Error>(Bad("a gang has an unknown shape"));
      }
      task.shape = shapes_[task.shape.index()];
    }
    return request;
  }
  RecordedPlace PlaceOf(std::int32_t member, const Placement& p, Score score) const {
    return {member, engine_.state().name(p.node), p.cards, score};
  }
  static std::string Text(OutcomeKind kind, const std::vector<RecordedPlace>& places) {
    std::string text(OutcomeKindName(kind));
    if (places.size() > 1) return fmt::format("{} ({} members)", text, places.size());
    for (const RecordedPlace& p : places) {
      text += fmt::format(" on {} cards {:#x} score {}", p.node, p.cards.bits(), p.score);
    }
    return text;
  }
  void Differs(const PodUid& uid, SimTime now, const std::string& was, const std::string& is) {
    if (out_.different++ > 0) return;
    out_.first_difference =
        fmt::format("decisions-{}: decision {} of the recording, about {} at {} us: was {}, now {}",
                    generation_, out_.decisions, UidText(uid), now.us, was, is);
  }

  Status Decide(const DecisionEntry& entry) {
    Note(entry.now);
    if (const auto* shape = std::get_if<RecordedShape>(&entry.body)) {
      const auto id = engine_.InternShape(shape->spec);
      if (!id) return tl::unexpected<Error>(Bad(id.error().ToString()));
      shapes_.push_back(*id);
      return {};
    }
    if (const auto* was = std::get_if<RecordedDecision>(&entry.body)) return Pod(*was, entry.now);
    if (const auto* was = std::get_if<RecordedGangDecision>(&entry.body)) {
      return Gang(*was, entry.now);
    }
    if (const auto* was = std::get_if<RecordedEviction>(&entry.body)) {
      return Eviction(*was, entry.now);
    }
    return {};  // seen and gone: no decisions
  }

  Status Pod(const RecordedDecision& was, SimTime now) {
    const Result<Request> request = RequestOf(was.ask);
    if (!request) return tl::unexpected<Error>(request.error());
    ++out_.decisions;
    const Outcome outcome = engine_.Propose(*request, now);
    RecordedDecision is{was.ask, outcome.kind, {}};
    if (outcome.placed()) is.place = PlaceOf(-1, outcome.placement, outcome.placement.score);
    AddToDigest(was, now, &recorded_);
    AddToDigest(is, now, &replayed_);
    if (is.kind == was.kind && is.place == was.place) return {};
    const auto places = [](const RecordedDecision& d) {
      return d.kind == OutcomeKind::kPlaced ? std::vector{d.place} : std::vector<RecordedPlace>{};
    };
    Differs(was.ask.uid, now, Text(was.kind, places(was)), Text(is.kind, places(is)));
    return {};
  }

  Status Gang(const RecordedGangDecision& was, SimTime now) {
    const Result<GangRequest> request = RequestOf(was.gang);
    if (!request) return tl::unexpected<Error>(request.error());
    ++out_.decisions;
    const Result<GangOutcome> outcome = engine_.ProposeGang(*request, now);
    AddToDigest(was, now, &recorded_);
    if (!outcome) {
      Differs(was.gang.uid, now, Text(was.kind, was.places), outcome.error().ToString());
      return {};
    }
    RecordedGangDecision is{was.gang, outcome->kind, {}};
    for (const GangOutcome::Member& m : outcome->members) {
      is.places.push_back(PlaceOf(m.member, m.placement, 0));
    }
    AddToDigest(is, now, &replayed_);
    if (is.kind == was.kind && is.places == was.places) return {};
    Differs(was.gang.uid, now, Text(was.kind, was.places), Text(is.kind, is.places));
    return {};
  }

  Status Eviction(const RecordedEviction& was, SimTime now) {
    ++out_.decisions;
    ++out_.evictions;
    EvictionPlan plan;
    PodUid uid;
    if (const auto* pod = std::get_if<RecordedAsk>(&was.ask)) {
      uid = pod->uid;
      const Result<Request> request = RequestOf(*pod);
      if (!request) return tl::unexpected<Error>(request.error());
      plan = engine_.ProposeEviction(*request, was.rules, now);
    } else {
      const auto& gang = std::get<GangSpecRecord>(was.ask);
      uid = gang.uid;
      const Result<GangRequest> request = RequestOf(gang);
      if (!request) return tl::unexpected<Error>(request.error());
      Result<EvictionPlan> found = engine_.ProposeEviction(*request, was.rules, now);
      if (!found) {
        Differs(uid, now, "a plan", found.error().ToString());
        return {};
      }
      plan = std::move(*found);
    }
    std::vector<PodUid> victims;
    for (const Victim& victim : plan.victims) victims.push_back(victim.uid);
    std::vector<RecordedPlace> places;
    if (plan.found) {
      for (const GangOutcome::Member& m : plan.gang.members) {
        places.push_back(PlaceOf(m.member, m.placement, 0));
      }
      if (std::holds_alternative<RecordedAsk>(was.ask)) {
        places.push_back(PlaceOf(-1, plan.placement, 0));
      }
    }
    if (plan.found == was.found && victims == was.victims && places == was.places) return {};
    const auto text = [](bool found, const std::vector<PodUid>& who) {
      return found ? fmt::format("{} victims, first {}", who.size(),
                                 who.empty() ? "none" : UidText(who.front()))
                   : std::string("no plan");
    };
    Differs(uid, now, text(was.found, was.victims), text(plan.found, victims));
    return {};
  }

  Engine& engine_;
  const Registry& registry_;
  RecordingReplay& out_;
  Digest& recorded_;
  Digest& replayed_;
  std::uint64_t generation_;
  std::vector<ShapeId> shapes_;
};

}  // namespace

Result<RecordingReplay> ReplayRecording(const SegmentSource& source, const Registry& registry) {
  RecordingReplay out;
  Digest recorded, replayed;
  Digest128 last_state;
  std::uint64_t last_generation = 0;
  for (std::size_t s = 0; s < source.segments; ++s) {
    const Result<RecordedSegment> segment = source.read(s);
    if (!segment) return tl::unexpected<Error>(segment.error());
    ++out.segments;
    const std::uint64_t generation = segment->generation;
    const auto* head = segment->journal.records.empty()
                           ? nullptr
                           : std::get_if<PolicyRecord>(&segment->journal.records.front().body);
    EngineOptions options;
    std::string expression = "binpack";  // nothing is decided in a journal that is empty
    if (head != nullptr) {
      Result<EngineOptions> told = OptionsOf(*head);
      if (!told) return Fail(fmt::format("journal-{}", generation), told.error().ToString());
      options = std::move(*told);
      expression = head->expression;
      if (out.policy.empty()) out.policy = expression;
    } else if (!segment->journal.records.empty()) {
      return Fail(fmt::format("journal-{}", generation), "does not begin with its policy");
    }
    auto policy = registry.Configure(expression);
    if (!policy) return Fail(fmt::format("journal-{}", generation), policy.error().ToString());
    auto engine = Engine::Restore(segment->snapshot, std::move(*policy), std::move(options));
    if (!engine) return Fail(fmt::format("snapshot-{}", generation), engine.error().ToString());
    if (s > 0) {
      ++out.states;
      if ((*engine)->StateDigest() != last_state && out.states_different++ == 0) {
        out.first_gap = fmt::format(
            "snapshot-{} is not the state that generation {} ends with: what happened in between "
            "is not recorded (a crash, a full disk, other card models)",
            generation, last_generation);
      }
    }
    if (segment->has_decisions || segment->journal.records.empty()) {
      SegmentReplay replay(engine->get(), registry, &out, &recorded, &replayed, generation);
      if (Status ok = replay.Run(*segment); !ok) return tl::unexpected<Error>(ok.error());
      last_state = (*engine)->StateDigest();
    } else {
      ++out.without_decisions;
      const auto again = ReplayJournalFrom(segment->snapshot, segment->journal, registry, "");
      if (!again) return Fail(fmt::format("journal-{}", generation), again.error().ToString());
      out.decisions += again->decisions;
      if (out.different == 0 && again->different > 0) {
        out.first_difference = fmt::format("journal-{}: {}", generation, again->first_difference);
      }
      out.different += again->different;
      last_state = again->state_digest;
    }
    last_generation = generation;
  }
  out.recorded = recorded.value();
  out.replayed = replayed.value();
  out.state_digest = last_state;
  return out;
}

}  // namespace basalt::sim
