#include "traces/usage_cards.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

namespace basalt::trace {
namespace {

// Node, and card in natural order: 2 before 10.
struct Place {
  std::string node, card;
  auto Key() const {
    return std::tuple(std::string_view(node), card.size(), std::string_view(card));
  }
  bool operator<(const Place& other) const { return Key() < other.Key(); }
};
using Places = std::set<Place>;

struct Seen {
  std::string_view uuid;
  std::string node, index;
  std::set<std::tuple<std::int64_t, std::int64_t, std::int32_t>> owners;
  Places candidates;
  bool sure = false;  // the candidates are all there can be
  bool open = false;
};

class Namer {
 public:
  explicit Namer(const Trace& trace) : trace_(trace) {
    for (std::size_t j = 0; j < trace.jobs.size(); ++j) {
      jobs_.emplace(trace.jobs[j].id, static_cast<std::int64_t>(j));
    }
    for (const Placement& p : trace.placements) {
      const auto job = jobs_.find(p.job_id);
      std::string_view rest = p.gpu_ids;
      while (!rest.empty()) {
        const std::size_t end = std::min(rest.find(';'), rest.size());
        Place place{p.node_id, std::string(rest.substr(0, end))};
        nodes_of_card_[place.card].insert(place.node);
        known_[place.node].insert(place);
        if (job != jobs_.end()) held_[job->second].push_back({&p, std::move(place)});
        rest.remove_prefix(std::min(end + 1, rest.size()));
      }
    }
    // Numbers are all the node's, also of cards on which nothing was placed.
    for (const Node& node : trace.nodes) {
      const auto known = known_.find(node.id);
      if (known == known_.end() || !std::ranges::all_of(known->second, Numbered)) continue;
      for (int c = 0; c < node.gpu_count; ++c) known->second.insert({node.id, std::to_string(c)});
      complete_.insert(node.id);
    }
  }

  CardNames Run(const std::vector<OwnedSeries>& all) {
    std::vector<Seen> cards;  // in the order of first sight
    std::map<std::string_view, std::size_t> at;
    for (const OwnedSeries& s : all) {
      if (s.series->uuid.empty()) continue;
      const auto [it, added] = at.try_emplace(s.series->uuid, cards.size());
      if (added) cards.emplace_back().uuid = s.series->uuid;
      Seen& card = cards[it->second];
      if (card.node.empty()) card.node = s.series->node;
      if (card.index.empty()) card.index = s.series->index;
      if (s.owner.job >= 0) card.owners.emplace(s.owner.job, s.owner.task, s.owner.replica);
    }
    for (Seen& card : cards) Begin(&card);
    // A card that can be one place only; that place is then nobody else's.
    for (bool changed = true; changed;) {
      changed = false;
      for (Seen& card : cards) {
        if (!card.open) continue;
        std::erase_if(card.candidates, [&](const Place& p) { return taken_.contains(p); });
        if (!card.sure || card.candidates.size() != 1) continue;
        Take(&card);
        changed = true;
      }
    }
    for (Seen& card : cards) {
      if (!card.open) continue;
      std::erase_if(card.candidates, [&](const Place& p) { return taken_.contains(p); });
      if (card.candidates.empty()) continue;
      Take(&card);
      ++names_.guessed;
    }
    return std::move(names_);
  }

 private:
  static bool Numbered(const Place& place) {
    return !place.card.empty() && place.card.find_first_not_of("0123456789") == std::string::npos;
  }

  bool Known(const std::string& node, const std::string& card) const {
    const auto at = known_.find(node);
    return at != known_.end() && at->second.contains({node, card});
  }

  void Begin(Seen* card) {
    const std::string uuid(card->uuid);
    names_.by_uuid[card->uuid] = {card->node, uuid};
    if (const auto at = nodes_of_card_.find(uuid); at != nodes_of_card_.end()) {
      if (card->node.empty()) names_.by_uuid[card->uuid].node = *at->second.begin();
      return;
    }
    if (!card->index.empty() && Known(card->node, card->index)) {
      names_.by_uuid[card->uuid].card = card->index;
      taken_.insert({card->node, card->index});
      return;
    }
    // A MIG instance is a part of a card, which placements do not name so.
    if (uuid.find("/mig") != std::string::npos) return;
    card->open = true;
    FindCandidates(card);
  }

  // Where the pods on it have cards; without such pods, the node's cards. Names that are no numbers
  // are somebody's own and never another UUID's.
  void FindCandidates(Seen* card) const {
    Places& out = card->candidates;
    bool placed = false;
    for (const auto& [job, task, replica] : card->owners) {
      Places of_owner;
      const auto held = held_.find(job);
      if (held == held_.end()) continue;
      for (const auto& [placement, place] : held->second) {
        if (task >= 0 && trace_.tasks[static_cast<std::size_t>(task)].task != placement->task) {
          continue;
        }
        if (replica >= 0 && replica != placement->replica) continue;
        if (!card->node.empty() && !place.node.empty() && place.node != card->node) continue;
        of_owner.insert(place);
      }
      if (of_owner.empty()) continue;
      if (!placed) {
        out = std::move(of_owner);
      } else {
        std::erase_if(out, [&](const Place& p) { return !of_owner.contains(p); });
      }
      placed = true;
    }
    if (!placed) {
      if (const auto at = known_.find(card->node); at != known_.end()) out = at->second;
    }
    card->sure = placed || complete_.contains(card->node);
    std::erase_if(out, [&](const Place& p) {
      return !Numbered(p) || (!card->index.empty() && p.card != card->index);
    });
  }

  void Take(Seen* card) {
    const Place place = *card->candidates.begin();
    CardName& name = names_.by_uuid[card->uuid];
    if (name.node.empty()) name.node = place.node;
    name.card = place.card;
    taken_.insert(place);
    card->open = false;
  }

  const Trace& trace_;
  std::map<std::string, std::int64_t> jobs_;
  std::map<std::string, Places> known_;  // by node
  std::set<std::string> complete_;       // nodes of which all cards are known
  std::map<std::string, std::set<std::string>> nodes_of_card_;
  std::map<std::int64_t, std::vector<std::pair<const Placement*, Place>>> held_;  // by job
  Places taken_;
  CardNames names_;
};

}  // namespace

CardNames NameCards(const std::vector<OwnedSeries>& all, const Trace& trace) {
  return Namer(trace).Run(all);
}

}  // namespace basalt::trace
