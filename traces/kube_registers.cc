#include "traces/kube_registers.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "traces/csv.h"
#include "traces/kube_devices.h"
#include "traces/limits.h"
#include "traces/text.h"

namespace basalt::trace {
namespace {

using Cards = std::optional<std::vector<RegisteredCard>>;

// The names of one form's members. Health that is left out means false, as Go's omitempty writes
// it; where the form has no health the plugin lists healthy cards only.
struct Form {
  const char *type, *memory, *health;
};
constexpr Form kHami{"type", "devmem", "health"};
constexpr Form kMetax{"model", "totalVRam", "healthy"};
constexpr Form kEnflame{"type", "", ""};

Cards FromJson(const std::string& text, const Form& form, std::string_view member) {
  auto list = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!member.empty() && list.is_object() && list.contains(member)) {
    list = nlohmann::json(list[std::string(member)]);
  }
  if (!list.is_array()) return std::nullopt;
  std::vector<RegisteredCard> out;
  for (const auto& device : list) {
    if (!device.is_object()) return std::nullopt;
    RegisteredCard& card = out.emplace_back();
    if (const auto type = device.find(form.type); type != device.end() && type->is_string()) {
      card.model = type->get<std::string>();
    }
    if (const auto memory = device.find(form.memory);
        memory != device.end() && memory->is_number_unsigned()) {
      const auto mib = memory->get<std::uint64_t>();
      if (mib >= 1 && mib <= static_cast<std::uint64_t>(kMaxAmount)) {
        card.mem_mib = static_cast<std::int64_t>(mib);
      }
    }
    const auto health = device.find(form.health);
    card.healthy = *form.health == '\0' ||
                   (health != device.end() && health->is_boolean() && health->get<bool>());
  }
  return out;
}

// "uuid,count,devmem,devcore,type,numa,health[,index,mode]:" of HAMi and
// "uuid,count,memory,type,health[,mode...]:" of Volcano.
Cards FromText(std::string_view text, bool volcano) {
  const std::size_t type_at = volcano ? 3 : 4, health_at = volcano ? 4 : 6;
  std::vector<RegisteredCard> out;
  if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) return out;  // no cards
  if (text.find(':') == std::string_view::npos) return std::nullopt;
  for (const std::string_view device : SplitAt(text, ':')) {
    if (device.empty()) continue;
    const std::vector<std::string_view> parts = SplitAt(device, ',');
    // Volcano's reader takes longer ones, HAMi's does not.
    const bool known = volcano ? parts.size() >= 5 : parts.size() == 7 || parts.size() == 9;
    RegisteredCard& card = out.emplace_back();
    if (!known || ParseWhole(parts[2], false, &card.mem_mib) != NumberFault::kNone ||
        card.mem_mib > kMaxAmount || (parts[health_at] != "true" && parts[health_at] != "false")) {
      return std::nullopt;
    }
    if (card.mem_mib == 0) card.mem_mib = -1;
    card.model = parts[type_at];
    card.healthy = parts[health_at] == "true";
  }
  return out;
}

bool IsHami(std::string_view key) {
  return key.starts_with("hami.io/node-register-") ||
         (key.starts_with("hami.io/node-") && key.ends_with("-register"));
}

}  // namespace

std::string CatalogModel(std::string_view type, bool soft_split) {
  const auto same = [](std::string_view a, std::string_view b) {
    return std::ranges::equal(a, b, [](char x, char y) {
      const auto plain = [](char c) {
        return c == ' ' ? '-' : c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
      };
      return plain(x) == plain(y);
    });
  };
  const auto find = [&](std::string_view name) -> const devices::CardModel* {
    for (const devices::Vendor& vendor : CardCatalog().vendors) {
      for (const devices::CardModel& model : vendor.models) {
        if (same(model.name, name)) return &model;
        for (const std::string& alias : model.aliases) {
          if (same(alias, name)) return &model;
        }
      }
    }
    return nullptr;
  };
  for (const std::string_view prefix : {"", "NVIDIA-", "AMD-"}) {
    if (!type.starts_with(prefix)) continue;
    const devices::CardModel* model = find(type.substr(prefix.size()));
    if (model == nullptr) continue;
    const devices::CardModel* soft =
        soft_split ? devices::FindModel(CardCatalog(), model->name + "-soft") : nullptr;
    return (soft == nullptr ? model : soft)->name;
  }
  return std::string(type);
}

Registers ReadRegisters(const std::string& file, const JsonValue* annotations,
                        std::vector<RegisteredCard>* cards, Diagnostics* diagnostics) {
  if (annotations == nullptr) return Registers::kNone;
  auto kind = Registers::kNone;
  // A node is HAMi's or Volcano's; what the other left behind does not count.
  const bool hami =
      std::ranges::any_of(annotations->items, [](const JsonValue& a) { return IsHami(a.key); });
  // The Ascend plugin's word for soft splitting.
  const bool soft_split = annotations->TextAt({"hami-vnpu-core"}) == "true";
  for (const JsonValue& note : annotations->items) {
    const bool volcano = note.key == "volcano.sh/node-vgpu-register";
    const bool metax = note.key == "metax-tech.com/node-gpu-devices";
    const bool enflame = note.key == "enflame.com/gcu-drs-capacity";
    if (!IsHami(note.key) && !metax && !enflame && (!volcano || hami)) continue;
    if (!volcano) {
      kind = Registers::kOthers;
    } else if (kind == Registers::kNone) {
      kind = Registers::kVolcano;
    }
    const std::size_t begin = note.text.find_first_not_of(" \t\r\n");
    const char first = begin == std::string::npos ? ' ' : note.text[begin];
    Cards read;
    if (enflame) {
      read = FromJson(note.text, kEnflame, "devices");
      if (read) {
        for (RegisteredCard& card : *read) card.model = "enflame";
      }
    } else if (first == '[') {
      read = FromJson(note.text, metax ? kMetax : kHami, "");
    } else if (!metax) {
      read = FromText(note.text, volcano);
    }
    if (!read || std::ranges::any_of(*read, [](const RegisteredCard& c) {
          return c.model.size() > kMaxNameBytes;
        })) {
      diagnostics->Add(At(file, note.line), Quoted(note.key) +
                                                " is not a device register that is known here; "
                                                "remove the annotation or correct it");
      continue;
    }
    for (RegisteredCard& card : *read) {
      card.model = CatalogModel(card.model, soft_split);
      cards->push_back(std::move(card));
    }
  }
  return kind;
}

}  // namespace basalt::trace
