#include "test/support/random_world.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "test/support/cluster.h"

namespace basalt::support {
namespace {

constexpr std::array<const char*, 3> kModels = {"T4", "A10", "G2"};

}  // namespace

World::World(std::uint64_t seed, const WorldOptions& options) : options_(options), rng_(seed, 77) {
  const auto count = 1 + Below(static_cast<std::uint32_t>(options_.max_nodes));
  for (std::uint32_t i = 0; i < count; ++i) {
    nodes.push_back(RandomNode());
    alive_.emplace_back(nodes.back().name, static_cast<int>(nodes.back().cards.size()));
    specs_[nodes.back().name] = nodes.back();
  }
  for (int i = 0; i < options_.shapes; ++i) shapes.push_back(RandomRequest());
}

NodeSpec World::RandomNode() {
  NodeSpec node;
  node.name = fmt::format("n{:02}", names_++);
  node.rank = OneIn(2) ? Below(6) : -1;
  node.cpu_milli = 1000 * Below(48);
  node.memory_mib = 1024 * Below(64);
  CardSpec card;
  card.model = kModels[Below(3)];
  if (options_.card_memory && OneIn(3)) card.memory_mib = OneIn(2) ? 16'384 : 24'000;
  if (options_.odd_cards && OneIn(8)) card.slots = static_cast<std::int32_t>(1 + Below(3));
  if (options_.odd_cards && OneIn(12)) card.mode = OneIn(3) ? CardMode::kMig : CardMode::kExclusive;
  if (options_.odd_cards && OneIn(12)) card.compute_milli = OneIn(2) ? 1500 : 2000;
  node.cards.assign(Below(static_cast<std::uint32_t>(options_.max_cards) + 1), card);
  if (OneIn(6)) {
    for (CardSpec& other : node.cards) other.model = kModels[Below(3)];
  }
  if (options_.labels) {
    if (OneIn(2)) node.labels.push_back({"zone", OneIn(2) ? "a" : "b"});
    if (OneIn(3)) node.labels.push_back({"disk", "ssd"});
    if (OneIn(8)) node.taints.emplace_back("gpu-only");
    if (OneIn(8)) node.max_pods = static_cast<std::int32_t>(1 + Below(4));
  }
  if (options_.wiring) Wire(&node);
  return node;
}

// Half the cards on each of two NUMA nodes, neighbours joined by links of two kinds.
void World::Wire(NodeSpec* node) {
  const std::size_t cards = node->cards.size();
  if (!OneIn(3)) node->network.push_back({1, fmt::format("r{}", Below(3))});
  if (!OneIn(4)) node->network.push_back({2, fmt::format("z{}", Below(2))});
  if (cards < 2 || OneIn(2)) return;
  std::string links;
  std::string pcie;
  for (std::size_t c = 0; c < cards; ++c) {
    if (c % 2 == 1) {
      links +=
          fmt::format("{}{}-{}:{}", links.empty() ? "" : ",", c - 1, c, OneIn(2) ? 40'000 : 20'000);
    }
    pcie += fmt::format("{}-h{}:12000,", c, c < cards / 2 ? 0 : 1);
  }
  node->machine = fmt::format(
      "{} link={} pcie={}i0-h0:12000,i1-h1:12000,h0-n0:12000,h1-n1:12000 socket=n0-n1:6000 "
      "nics=12500*2",
      cards, links, pcie);
  node->numa_nodes = 2;
  if (OneIn(2)) node->numa_policy = static_cast<topology::NumaPolicy>(Below(4));
  if (OneIn(2)) node->numa_scope = topology::NumaScope::kPod;
}

RequestSpec World::RandomRequest() {
  static constexpr std::array<MilliGpu, 6> kShares = {100, 250, 460, 500, 750, 999};
  RequestSpec spec;
  spec.cpu_milli = OneIn(6) ? 0 : 1000 * Below(12);
  spec.memory_mib = OneIn(2) ? 0 : 1024 * Below(16);
  const std::uint32_t kind = Below(10);
  if (kind < 4) {
    spec.gpus = 1;
    spec.gpu_milli = kShares[Below(6)];
  } else if (kind < 8) {
    spec.gpus = 1 << Below(4);
    spec.gpu_milli = kWholeCard;
  } else if (kind < 9) {
    spec.gpus = static_cast<std::int32_t>(2 + Below(3));
    spec.gpu_milli = kShares[Below(6)];
  }
  if (options_.card_memory && spec.gpus > 0 && OneIn(3)) {
    if (OneIn(2)) {
      spec.gpu_memory_mib = 2000 * (1 + Below(8));
    } else {
      spec.gpu_memory_percent = static_cast<std::int32_t>(10 * (1 + Below(9)));
    }
    if (OneIn(3)) spec.gpu_milli = 0;  // memory alone
  }
  if (spec.gpus > 0 && OneIn(3)) {
    spec.models.emplace_back(kModels[Below(3)]);
    if (OneIn(2)) spec.models.emplace_back(kModels[Below(3)]);
  }
  if (options_.labels && OneIn(5)) spec.node_selector.push_back({"zone", OneIn(2) ? "a" : "b"});
  if (options_.labels && OneIn(10)) spec.node_selector.push_back({"disk", "ssd"});
  if (options_.labels && OneIn(3)) spec.tolerations.emplace_back("gpu-only");
  if (!options_.wiring) return spec;
  if (OneIn(8)) spec.numa = static_cast<topology::NumaPolicy>(Below(4));
  if (OneIn(10)) spec.nics = static_cast<std::int32_t>(1 + Below(2));
  if (spec.gpus > 1 && OneIn(3)) {
    spec.min_bandwidth_mbps = OneIn(2) ? 10'000 : 30'000;
    spec.bandwidth_required = OneIn(2);
  }
  return spec;
}

// One or two things differ, labels more often than the rest.
NodeSpec World::Described(const NodeSpec& was) {
  NodeSpec node = was;
  node.rank = OneIn(6) ? std::int64_t{Below(20)} : -1;
  const auto cards_changed = [&node] {
    node.machine.clear();  // it was of so many cards
    node.numa_nodes = 1;
    node.numa_policy = topology::NumaPolicy::kNone;
    node.numa_scope = topology::NumaScope::kContainer;
  };
  for (std::uint32_t n = 1 + Below(2); n > 0; --n) {
    const std::uint32_t what = Below(12);
    if (what < 5) {
      node.labels.clear();
      if (OneIn(2)) node.labels.push_back({"zone", OneIn(2) ? "a" : "b"});
      if (OneIn(2)) node.labels.push_back({"unread", std::to_string(Below(9))});
      node.taints.clear();
      if (OneIn(6)) node.taints.emplace_back("gpu-only");
    } else if (what < 6) {
      node.cpu_milli = 1000 * Below(48);
    } else if (what < 7) {
      node.max_pods = static_cast<std::int32_t>(Below(6));
    } else if (what < 8) {
      for (std::size_t c = 0; c < node.cards.size(); ++c) {  // it says now which are which
        if (node.cards[c].uuid.empty()) node.cards[c].uuid = fmt::format("{}-u{}", node.name, c);
      }
    } else if (node.cards.empty() || (what < 9 && node.cards.size() < 8)) {
      CardSpec card;
      card.model = kModels[Below(3)];
      card.uuid = fmt::format("{}-v{}", node.name, names_++);
      node.cards.push_back(card);
      cards_changed();
    } else if (what < 10) {
      node.cards.erase(node.cards.begin() + Below(static_cast<std::uint32_t>(node.cards.size())));
      cards_changed();
    } else if (what < 11) {
      std::rotate(node.cards.begin(), node.cards.begin() + 1, node.cards.end());
      cards_changed();
    } else {
      CardSpec& card = node.cards[Below(static_cast<std::uint32_t>(node.cards.size()))];
      if (OneIn(2)) {
        card.model = kModels[Below(3)];
      } else {
        card.memory_mib = OneIn(2) ? 0 : 24'000;
      }
    }
  }
  return node;
}

Step World::Next() {
  if (options_.describe && !alive_.empty() && OneIn(6)) {
    auto& [name, cards] = alive_[Below(static_cast<std::uint32_t>(alive_.size()))];
    NodeSpec& spec = specs_.at(name);
    if (!OneIn(8)) spec = Described(spec);  // or the same again
    cards = static_cast<int>(spec.cards.size());
    return Event{NodeChanged{spec}};
  }
  const std::uint32_t dice = Below(100);
  const auto any_node = [&]() -> const std::pair<std::string, int>& {
    return alive_[Below(static_cast<std::uint32_t>(alive_.size()))];
  };
  if (dice < 62 || alive_.empty()) {
    const bool again = uids_ > 0 && OneIn(12);  // a repeat, or a new attempt of an old pod
    const std::uint64_t uid = again ? Below(static_cast<std::uint32_t>(uids_)) : uids_++;
    return Arrive{uid, again ? Below(2) : 0, Below(4),
                  Below(static_cast<std::uint32_t>(shapes.size()))};
  }
  if (dice < 82) return Leave{uids_ == 0 ? 0 : Below(static_cast<std::uint32_t>(uids_))};
  if (dice < 86) return Event{NodeCordoned{any_node().first, OneIn(2)}};
  if (dice < 89) {
    const auto& [name, cards] = any_node();
    if (cards > 0) {
      return Event{CardHealthChanged{
          name, static_cast<int>(Below(static_cast<std::uint32_t>(cards))), OneIn(2)}};
    }
    return Event{NodeCordoned{name, false}};
  }
  if (dice < 92) {
    NodeSpec node = RandomNode();
    alive_.emplace_back(node.name, static_cast<int>(node.cards.size()));
    specs_[node.name] = node;
    return Event{NodeAdded{std::move(node)}};
  }
  if (dice < 94 && alive_.size() > 1) {
    const std::uint32_t at = Below(static_cast<std::uint32_t>(alive_.size()));
    NodeRemoved removed{alive_[at].first};
    alive_.erase(alive_.begin() + at);
    return Event{std::move(removed)};
  }
  if (dice < 97 && options_.observe) {
    const auto& [name, cards] = any_node();
    PodObserved pod;
    pod.uid = Uid(1000 + uids_++);
    pod.spec = shapes[Below(static_cast<std::uint32_t>(shapes.size()))];
    pod.node = name;
    for (int c = 0; c < cards && pod.cards.size() < pod.spec.gpus; ++c) {
      if (OneIn(2)) pod.cards.Add(c);
    }
    return Event{std::move(pod)};
  }
  return Event{PodGone{Uid(Below(static_cast<std::uint32_t>(uids_ + 1)))}};
}

std::string Play(Engine& engine, const World& world, const Step& step, SimTime now) {
  if (const auto* arrive = std::get_if<Arrive>(&step)) {
    const Request request =
        For(engine, world.shapes[arrive->shape], arrive->uid, arrive->attempt, arrive->job);
    const Outcome outcome = engine.Place(request, now);
    return fmt::format("{} {:#x} {}", NodeName(engine, outcome), outcome.placement.cards.bits(),
                       outcome.placement.score);
  }
  if (const auto* leave = std::get_if<Leave>(&step)) {
    const Status ok = engine.Release(Uid(leave->uid), now);
    return ok ? "released" : ok.error().ToString();
  }
  const Status ok = engine.Apply(std::get<Event>(step), now);
  return ok ? "applied" : ok.error().ToString();
}

}  // namespace basalt::support
