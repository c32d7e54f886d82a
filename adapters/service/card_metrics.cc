// What the cards are doing, for Prometheus: by model and, on clusters that are not too large, card
// by card. Card gauges are of cards, physical ones; slices are the virtual ones on them.
#include <array>
#include <string>

#include "adapters/service/service.h"

namespace basalt::service {
namespace {

// A scrape of more cards would be mostly these.
constexpr std::int64_t kMostCardsListed = 2'000;

enum State : std::size_t { kIdle, kShared, kFull, kUnhealthy, kCordoned, kStates };
constexpr std::array<const char*, kStates> kStateNames = {"idle", "shared", "full", "unhealthy",
                                                          "cordoned"};

State StateOf(const CardState& card, bool node_cordoned) {
  if (!card.healthy) return kUnhealthy;
  if (card.cordoned || node_cordoned) return kCordoned;
  if (card.slices == 0) return kIdle;
  return card.free_milli > 0 ? kShared : kFull;
}

struct ModelSums {
  std::array<std::int64_t, kStates> cards{};
  std::int64_t compute = 0, compute_free = 0, memory = 0, memory_free = 0, slices = 0;
};

}  // namespace

void Service::WriteCardMetrics(MetricsText* out) const {
  const ClusterState& state = engine_->state();
  std::int64_t cards = 0;
  for (const NodeId node : state.order()) cards += state.hot(node).cards;
  const bool listed = cards <= kMostCardsListed;
  std::map<std::string, ModelSums> models;
  for (const NodeId node : state.order()) {
    for (int i = 0; i < state.hot(node).cards; ++i) {
      const CardState& card = state.card(node, i);
      const std::string& model = state.model_name(ModelId(std::uint32_t{card.model}));
      ModelSums& sums = models[model];
      ++sums.cards[StateOf(card, state.cordoned(node))];
      sums.compute += card.compute_total;
      sums.compute_free += card.free_milli;
      sums.memory += card.memory_total;
      sums.memory_free += card.memory_free;
      sums.slices += card.slices;
      if (!listed) continue;
      const MetricsText::Labels labels = {{"cluster", config_.id},
                                          {"node", state.name(node)},
                                          {"card", state.CardUuid(node, i)},
                                          {"model", model}};
      out->Add("basalt_card_allocated_milli", "gauge",
               "Compute of a card that is taken; only with at most 2000 cards.", labels,
               static_cast<double>(card.compute_total - card.free_milli));
      out->Add("basalt_card_allocated_mib", "gauge",
               "Memory of a card that is taken; only with at most 2000 cards.", labels,
               static_cast<double>(card.memory_total - card.memory_free));
    }
  }
  for (const auto& [model, sums] : models) {
    const MetricsText::Labels labels = {{"cluster", config_.id}, {"model", model}};
    for (std::size_t s = 0; s < kStates; ++s) {
      MetricsText::Labels with = labels;
      with.emplace_back("state", kStateNames[s]);
      out->Add("basalt_model_cards", "gauge", "Cards of a model by state.", with,
               static_cast<double>(sums.cards[s]));
    }
    const auto gauge = [&](const std::string& name, std::string_view help, std::int64_t value) {
      out->Add("basalt_model_" + name, "gauge", help, labels, static_cast<double>(value));
    };
    gauge("capacity_milli", "Compute of a model's cards, 1000 is a card.", sums.compute);
    gauge("free_milli", "Of it not taken.", sums.compute_free);
    gauge("memory_mib", "Memory of a model's cards that may be handed out.", sums.memory);
    gauge("memory_free_mib", "Of it not taken.", sums.memory_free);
    gauge("slices", "Slices on a model's cards: the virtual cards.", sums.slices);
  }
}

void Service::WriteStranded(MetricsText* out) {
  for (const std::string& name : config_.target_skus) {
    auto it = stranded_.find(name);
    if (it == stranded_.end()) {
      const Result<devices::Sku> sku = devices::FindSku(environment_->skus, name);
      if (!sku) continue;  // refused when the configuration was read
      const TargetWorkload::Counted one[] = {{sku->request, 1}};
      it = stranded_.try_emplace(name, engine_->state(), TargetWorkload(one, 100)).first;
    }
    it->second.CatchUp();
    for (std::size_t c = 0; c < kStrandCauses; ++c) {
      out->Add("basalt_stranded_cards", "gauge",
               "Idle compute, in cards, that one of the target SKUs cannot use, by cause.",
               {{"cluster", config_.id},
                {"shape", name},
                {"cause", std::string(StrandCauseKey(static_cast<StrandCause>(c)))}},
               static_cast<double>(it->second.total().causes[c]) / kWholeCard);
    }
  }
}

}  // namespace basalt::service
