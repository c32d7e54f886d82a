#include <fmt/format.h>

#include "sim/simulator.h"

namespace basalt::sim {

Result<JournalReplay> ReplayJournal(const JournalContents& journal, const Registry& registry,
                                    const std::string& policy) {
  if (journal.records.empty()) return Fail("journal", "is empty");
  const auto* head = std::get_if<PolicyRecord>(&journal.records.front().body);
  if (head == nullptr) return Fail("journal", "does not begin with its policy");
  auto configured = registry.Configure(policy.empty() ? head->expression : policy);
  if (!configured) return tl::unexpected<Error>(configured.error());
  EngineOptions options;
  options.seed = head->seed;
  std::vector<TargetWorkload::Counted> kept;
  for (const PolicyRecord::Class& c : head->target) {
    if (Status ok = ValidateRequest(c.spec, "journal: target class"); !ok || c.count <= 0) {
      return Fail("journal", "a target class is not valid");
    }
    kept.push_back({c.spec, c.count});
  }
  options.target = TargetWorkload::FromKept(kept, head->target_count);
  auto made = Engine::Create(std::move(*configured), std::move(options));
  if (!made) return tl::unexpected<Error>(made.error());
  Engine& engine = **made;

  JournalReplay out;
  std::vector<ShapeId> shapes;
  const auto decide = [&](const PodUid& uid, std::uint32_t attempt, std::uint32_t shape,
                          std::uint64_t job, SimTime now) -> Result<Outcome> {
    if (shape >= shapes.size()) return Fail("journal", "a decision has an unknown shape");
    ++out.decisions;
    return engine.Propose(Request{uid, attempt, shapes[shape], job}, now);
  };
  const auto differs = [&](std::size_t record, std::string what) {
    if (out.different++ == 0) out.first_difference = fmt::format("record {}: {}", record, what);
  };
  for (std::size_t i = 0; i < journal.records.size(); ++i) {
    const JournalRecord& record = journal.records[i];
    if (const auto* shape = std::get_if<ShapeRecord>(&record.body)) {
      const auto id = engine.InternShape(shape->spec);
      if (!id) return tl::unexpected<Error>(id.error());
      shapes.push_back(*id);
    } else if (const auto* reserved = std::get_if<ReservedRecord>(&record.body)) {
      const auto again =
          decide(reserved->uid, reserved->attempt, reserved->shape, reserved->job, record.now);
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
      const auto again =
          decide(decision->uid, decision->attempt, decision->shape, decision->job, record.now);
      if (!again) return tl::unexpected<Error>(again.error());
      if (again->kind != decision->kind) {
        differs(i, fmt::format("was {}, now {}", OutcomeKindName(decision->kind),
                               OutcomeKindName(again->kind)));
      }
    }
    // The effect is the recorded one, also where the decision differs: later records build on it.
    if (Status ok = engine.ApplyRecord(record); !ok) return tl::unexpected<Error>(ok.error());
  }
  out.state_digest = engine.StateDigest();
  return out;
}

}  // namespace basalt::sim
