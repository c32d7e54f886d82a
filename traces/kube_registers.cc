#include "traces/kube_registers.h"

#include <algorithm>

#include "devices/registration.h"
#include "traces/kube_devices.h"
#include "traces/text.h"

namespace basalt::trace {

std::string CatalogModel(std::string_view type, bool soft_split) {
  const devices::CardModel* model = devices::ModelOfType(CardCatalog(), type);
  if (model == nullptr) return std::string(type);
  const devices::CardModel* soft =
      soft_split ? devices::FindModel(CardCatalog(), model->name + "-soft") : nullptr;
  return (soft == nullptr ? model : soft)->name;
}

Registers ReadRegisters(const std::string& file, const JsonValue* annotations,
                        std::vector<RegisteredCard>* cards, Diagnostics* diagnostics) {
  if (annotations == nullptr) return Registers::kNone;
  auto kind = Registers::kNone;
  // A node is HAMi's or Volcano's; what the other left behind does not count.
  const bool hami = std::ranges::any_of(annotations->items, [](const JsonValue& a) {
    return a.key.starts_with("hami.io/") && devices::IsRegister(a.key);
  });
  // The Ascend plugin's word for soft splitting.
  const bool soft_split = annotations->TextAt({"hami-vnpu-core"}) == "true";
  for (const JsonValue& note : annotations->items) {
    const bool volcano = note.key.starts_with("volcano.sh/");
    if (!devices::IsRegister(note.key) || (volcano && hami)) continue;
    if (!volcano) {
      kind = Registers::kOthers;
    } else if (kind == Registers::kNone) {
      kind = Registers::kVolcano;
    }
    const auto read = devices::ReadRegister(note.key, note.text, "");
    if (!read) {
      diagnostics->Add(At(file, note.line), Quoted(note.key) +
                                                " is not a device register that is known here; "
                                                "remove the annotation or correct it");
      continue;
    }
    // Of Enflame's cards only slices are told: neither a model nor all of the memory.
    const bool slices = read->vendor == "enflame";
    for (const devices::RegisteredCard& card : read->cards) {
      cards->push_back({slices ? read->vendor : CatalogModel(card.type, soft_split),
                        slices || card.memory_mib == 0 ? -1 : card.memory_mib, card.healthy});
    }
  }
  return kind;
}

}  // namespace basalt::trace
