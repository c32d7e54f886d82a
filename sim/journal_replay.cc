#include <fmt/format.h>

#include "sim/recording.h"
#include "sim/simulator.h"

namespace basalt::sim {
namespace {

// Empty when the gang was given the recorded places again, else the first difference.
std::string SamePlaces(const Engine& engine, const GangReservedRecord& was,
                       const GangOutcome& now) {
  if (!now.placed()) return fmt::format("a gang was placed, now {}", OutcomeKindName(now.kind));
  if (now.members.size() != was.members.size()) {
    return fmt::format("{} members of a gang were placed, now {}", was.members.size(),
                       now.members.size());
  }
  for (std::size_t m = 0; m < was.members.size(); ++m) {
    const GangReservedRecord::Member& then = was.members[m];
    const GangOutcome::Member& again = now.members[m];
    const std::string& node = engine.state().name(again.placement.node);
    if (then.member != again.member || then.node != node || then.cards != again.placement.cards) {
      return fmt::format("member {} was placed on {} cards {:#x}, now member {} on {} cards {:#x}",
                         then.member, then.node, then.cards.bits(), again.member, node,
                         again.placement.cards.bits());
    }
  }
  return {};
}

Result<TargetWorkload> TargetOf(const PolicyRecord& record) {
  std::vector<TargetWorkload::Counted> kept;
  for (const PolicyRecord::Class& c : record.target) {
    if (Status ok = ValidateRequest(c.spec, "journal: target class"); !ok || c.count <= 0) {
      return Fail("journal", "a target class is not valid");
    }
    kept.push_back({c.spec, c.count});
  }
  return TargetWorkload::FromKept(kept, record.target_count);
}

// `snapshot` null: from nothing.
Result<JournalReplay> Replayed(const std::string* snapshot, const JournalContents& journal,
                               const Registry& registry, const std::string& policy) {
  if (journal.records.empty()) return Fail("journal", "is empty");
  const auto* head = std::get_if<PolicyRecord>(&journal.records.front().body);
  if (head == nullptr) return Fail("journal", "does not begin with its policy");
  auto configured = registry.Configure(policy.empty() ? head->expression : policy);
  if (!configured) return tl::unexpected<Error>(configured.error());
  Result<EngineOptions> options = OptionsOf(*head);
  if (!options) return tl::unexpected<Error>(options.error());
  auto made = snapshot == nullptr
                  ? Engine::Create(std::move(*configured), std::move(*options))
                  : Engine::Restore(*snapshot, std::move(*configured), std::move(*options));
  if (!made) return tl::unexpected<Error>(made.error());
  Engine& engine = **made;

  JournalReplay out;
  std::vector<ShapeId> shapes;
  const auto decide = [&](const PodUid& uid, std::uint32_t attempt, std::uint32_t shape,
                          std::uint64_t job, const Standing& standing, const NodeNames& nodes,
                          SimTime now) -> Result<Outcome> {
    if (shape >= shapes.size()) return Fail("journal", "a decision has an unknown shape");
    ++out.decisions;
    return engine.Propose(
        Request{uid, attempt, shapes[shape], job, standing, ChoiceOf(engine.state(), nodes)}, now);
  };
  const auto decide_gang = [&](const GangSpecRecord& gang, SimTime now) -> Result<GangOutcome> {
    GangRequest request{gang.uid,
                        gang.attempt,
                        gang.spec,
                        gang.pods,
                        gang.job,
                        gang.standing,
                        ChoiceOf(engine.state(), gang.nodes)};
    for (const NodeNames& names : gang.task_nodes) {
      request.task_nodes.push_back(ChoiceOf(engine.state(), names));
    }
    for (GangTask& task : request.spec.tasks) {
      if (task.shape.index() >= shapes.size()) {
        return Fail("journal", "a gang has an unknown shape");
      }
      task.shape = shapes[task.shape.index()];
    }
    ++out.decisions;
    return engine.ProposeGang(request, now);
  };
  const auto differs = [&](std::size_t record, std::string what) {
    if (out.different++ == 0) out.first_difference = fmt::format("record {}: {}", record, what);
  };
  for (std::size_t i = 0; i < journal.records.size(); ++i) {
    const JournalRecord& record = journal.records[i];
    const auto* changed = i > 0 ? std::get_if<PolicyRecord>(&record.body) : nullptr;
    if (changed != nullptr) {
      shapes.clear();
      auto next = registry.Configure(policy.empty() ? changed->expression : policy);
      if (!next) return tl::unexpected<Error>(next.error());
      Result<TargetWorkload> next_target = TargetOf(*changed);
      if (!next_target) return tl::unexpected<Error>(next_target.error());
      if (Status ok = engine.SetPolicy(std::move(*next), std::move(*next_target), record.now);
          !ok) {
        return tl::unexpected<Error>(ok.error());
      }
    } else if (const auto* shape = std::get_if<ShapeRecord>(&record.body)) {
      const auto id = engine.InternShape(shape->spec);
      if (!id) return tl::unexpected<Error>(id.error());
      shapes.push_back(*id);
    } else if (const auto* reserved = std::get_if<ReservedRecord>(&record.body)) {
      const auto again = decide(reserved->uid, reserved->attempt, reserved->shape, reserved->job,
                                reserved->standing, reserved->nodes, record.now);
      if (!again) return tl::unexpected<Error>(again.error());
      if (!again->placed()) {
        differs(i, fmt::format("was placed on {}, now {}", reserved->node,
                               OutcomeKindName(again->kind)));
      } else if (engine.state().name(again->placement.node) != reserved->node ||
                 again->placement.cards != reserved->cards) {
        differs(i,
                fmt::format("was placed on {} cards {:#x}, now on {} cards {:#x}", reserved->node,
                            reserved->cards.bits(), engine.state().name(again->placement.node),
                            again->placement.cards.bits()));
      }
    } else if (const auto* decision = std::get_if<DecisionRecord>(&record.body)) {
      const auto again = decide(decision->uid, decision->attempt, decision->shape, decision->job,
                                decision->standing, decision->nodes, record.now);
      if (!again) return tl::unexpected<Error>(again.error());
      if (again->kind != decision->kind) {
        differs(i, fmt::format("was {}, now {}", OutcomeKindName(decision->kind),
                               OutcomeKindName(again->kind)));
      }
    } else if (const auto* gang = std::get_if<GangReservedRecord>(&record.body)) {
      const auto again = decide_gang(gang->gang, record.now);
      if (!again) return tl::unexpected<Error>(again.error());
      const std::string same = SamePlaces(engine, *gang, *again);
      if (!same.empty()) differs(i, same);
    } else if (const auto* refused = std::get_if<GangDecisionRecord>(&record.body)) {
      const auto again = decide_gang(refused->gang, record.now);
      if (!again) return tl::unexpected<Error>(again.error());
      if (again->kind != refused->kind) {
        differs(i, fmt::format("a gang was {}, now {}", OutcomeKindName(refused->kind),
                               OutcomeKindName(again->kind)));
      }
    }
    // The effect is the recorded one, also where the decision differs: later records build on it.
    if (Status ok = engine.ApplyRecord(record); !ok) return tl::unexpected<Error>(ok.error());
  }
  out.state_digest = engine.StateDigest();
  return out;
}

}  // namespace

Result<EngineOptions> OptionsOf(const PolicyRecord& record) {
  Result<TargetWorkload> target = TargetOf(record);
  if (!target) return tl::unexpected<Error>(target.error());
  EngineOptions options;
  options.seed = record.seed;
  options.target = std::move(*target);
  if (record.lease_ttl_us > 0) options.lease_ttl_us = record.lease_ttl_us;
  return options;
}

Result<JournalReplay> ReplayJournal(const JournalContents& journal, const Registry& registry,
                                    const std::string& policy) {
  return Replayed(nullptr, journal, registry, policy);
}

Result<JournalReplay> ReplayJournalFrom(const std::string& snapshot, const JournalContents& journal,
                                        const Registry& registry, const std::string& policy) {
  return Replayed(&snapshot, journal, registry, policy);
}

}  // namespace basalt::sim
