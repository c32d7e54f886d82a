// Finds places for all members of a gang, or says why there are none. Pure: it reads the state and
// the slot counts, and tries things on its own copies; what it finds is taken by the engine in one
// transaction.
//
// Order of work:
//  1. Counting. For every shape the places of each domain are known (cluster/domains.h). A domain
//     that has too few places, cards, CPU or memory is out, with the numbers in words. If all
//     domains that the required level allows are out, the gang is refused without a search.
//  2. Domains, from the preferred tier to wider ones, one tier at a time; inside a tier the
//  tightest
//     first. A gang of one task without sub-groups needs no search: counts are exact, and dividing
//     the members over sub-domains and nodes is arithmetic.
//  3. Else each candidate domain is tried on a copy: sub-groups by size, each in its own best
//     domain, tasks by size; where that fails the choices are taken back one by one (bounded
//     backtracking), and last, member by member. Domains are tried several at a time through the
//     caller's executor and reduced in order, so threads never change an answer.
// Budgets count steps. A search that ran out of them is not a proof.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "scheduler-core/base/executor.h"
#include "scheduler-core/cluster/cards.h"
#include "scheduler-core/cluster/domains.h"
#include "scheduler-core/cluster/draft.h"
#include "scheduler-core/workload/gang.h"
#include "scheduler-core/workload/node_choice.h"

namespace basalt {

struct GangProblem {
  const GangSpec* spec = nullptr;
  // By task: members that must be placed now, and that may be beyond.
  std::vector<std::int32_t> need;
  std::vector<std::int32_t> extra;
  // Where members are that stay: the gang's required level then binds the new ones to them.
  struct Held {
    std::size_t task;
    NodeId node;
  };
  std::vector<Held> held;
  // Where lost members were: a member of the task goes back as near to there as it can.
  struct Home {
    std::size_t task;
    DomainId domain;
  };
  std::vector<Home> homes;
  CardRule card_rule = CardRule::kBest;
  GangLayout layout = GangLayout::kPacked;  // not kByPolicy
  std::uint64_t seed = 0;
  // By task, the nodes that it may use; null: every node. Empty: so for all of them. Whether it
  // could ever be placed is asked without this.
  std::vector<std::shared_ptr<const NodeMask>> nodes = {};
};

struct GangAnswer {
  struct Place {
    std::size_t task;
    NodeId node;
    CardSet cards;
    std::shared_ptr<const NumaTake> numa;
  };
  bool placed = false;
  std::vector<Place> places;  // by task, then in leaf order
  DomainId domain;            // the candidate domain that took it
  bool proven = false;        // not placed: counting or a finished search says so
  std::string reason;         // not placed: the certificate
  std::uint64_t steps = 0;
};

struct GangSearchLimits {
  std::uint64_t steps = 20'000;  // of one candidate domain, plus steps_per_member x members
  std::uint64_t steps_per_member = 8;
  std::uint64_t all_steps = 400'000;  // of all candidates; looked at between them
  std::size_t domains = 64;           // candidates of one tier that are searched (not counted)
};

// `slots` by task. The executor may be null: one after another.
GangAnswer SearchGang(const ClusterState& state, const DomainTree& tree,
                      const std::vector<const SlotIndex::Slots*>& slots, const GangProblem& problem,
                      const GangSearchLimits& limits, Executor* executor);

// Whether some allowed domain has enough places for each task when nothing runs; else `reason` says
// which task lacks how many, where. `empty` by task.
bool GangPossibleWhenEmpty(const ClusterState& state, const DomainTree& tree,
                           const std::vector<const SlotIndex::Slots*>& empty,
                           const GangProblem& problem, std::string* reason);

}  // namespace basalt
