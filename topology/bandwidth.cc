#include "topology/bandwidth.h"

#include <algorithm>
#include <utility>

#include "topology/card_choice.h"
#include "topology/set_bandwidth.h"
#include "topology/synthetic.h"

namespace basalt::topology {
namespace {

// What a NIC's line rate leaves for data, in hundredths (NCCL counts 12 GB/s a 100 Gb/s).
constexpr std::int64_t kNicPercent = 96;

CardSet Lowest(CardSet free, int size) {
  CardSet taken;
  for (const int card : free) {
    if (taken.size() == size) break;
    taken.Add(card);
  }
  return taken;
}

}  // namespace

Result<std::shared_ptr<const MachineType>> MachineType::Make(MachineGraph graph) {
  if (Status ok = ValidateGraph(graph, graph.name); !ok) return tl::unexpected<Error>(ok.error());
  if (graph.cards() == 0) return Fail(graph.name, "the machine has no cards");
  std::shared_ptr<MachineType> type(new MachineType());
  type->cards_ = graph.cards();
  type->text_ = FormatGraph(graph);
  type->model_ = std::make_shared<const SetBandwidth>(graph);
  if (type->cards_ <= kTableCards) {
    type->choice_ = std::make_shared<const CardChoice>(graph, type->model_->Table());
  } else {
    CardSet set;
    for (int card = 0; card < type->cards_; ++card) {
      set.Add(card);
      type->uniform_best_.push_back(type->model_->Of(set));
    }
  }
  type->graph_ = std::move(graph);
  return std::shared_ptr<const MachineType>(std::move(type));
}

std::int32_t MachineType::Bandwidth(CardSet cards) const {
  return choice_ ? choice_->Bandwidth(cards) : model_->Of(cards);
}

std::int32_t MachineType::Best(int size) const {
  if (choice_) return choice_->Best(size);
  return size < 2 || size > cards_ ? 0 : uniform_best_[static_cast<std::size_t>(size - 1)];
}

int MachineType::Intact(int size, CardSet free) const {
  if (size != 2 && size != 4 && size != 8) return 0;
  return choice_ ? choice_->Intact(size, free) : free.size() / size;
}

CardSet MachineType::BestSet(CardSet free, int size) const {
  if (choice_) return choice_->BestSet(free, size);
  return size < 1 || size > free.size() ? CardSet() : Lowest(free, size);
}

CardSet MachineType::KeepRemainder(CardSet free, int size, std::int32_t mbps) const {
  if (choice_) return choice_->KeepRemainder(free, size, mbps);
  const CardSet set = BestSet(free, size);
  return set.size() < 2 || Bandwidth(set) >= mbps ? set : CardSet();
}

int MachineType::Copies(CardSet free, int size, std::int32_t mbps) const {
  if (choice_) return choice_->Copies(free, size, mbps);
  if (size < 1) return 0;
  int copies = 0;
  for (CardSet left = free;; ++copies) {
    const CardSet taken = KeepRemainder(left, size, mbps);
    if (taken.empty()) return copies;
    left = CardSet(left.bits() ^ taken.bits());
  }
}

std::int32_t AcrossNodes(std::int32_t within_mbps, std::int32_t nic_mbps) {
  const std::int64_t network = std::int64_t{nic_mbps} * kNicPercent / 100;
  return static_cast<std::int32_t>(std::min<std::int64_t>(within_mbps, network));
}

}  // namespace basalt::topology
