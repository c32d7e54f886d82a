#include "traces/kube_devices.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "traces/csv.h"
#include "traces/kube_quantity.h"
#include "traces/limits.h"
#include "traces/text.h"

namespace basalt::trace {
namespace {

using Kind = JsonValue::Kind;

// HAMi v2.x and Volcano 1.14; where memory is not of MiB the unit says how many MiB one is.
struct Device {
  std::string_view count, memory, percent, cores;
  std::int64_t memory_unit = 1;
  bool whole_compute = true;  // without cores, memory alone still takes all the compute
};
constexpr std::array<Device, 19> kDevices = {{
    {"nvidia.com/gpu", "nvidia.com/gpumem", "nvidia.com/gpumem-percentage", "nvidia.com/gpucores",
     1, false},
    {"volcano.sh/vgpu-number", "volcano.sh/vgpu-memory", "volcano.sh/vgpu-memory-percentage",
     "volcano.sh/vgpu-cores", 1, false},
    {"amd.com/gpu", "amd.com/gpumem", "", "amd.com/gpucores"},
    {"hygon.com/dcunum", "hygon.com/dcumem", "", "hygon.com/dcucores"},
    {"cambricon.com/vmlu", "cambricon.com/mlu.smlu.vmemory", "", "cambricon.com/mlu.smlu.vcore",
     256},
    {"cambricon.com/mlu", "", "", ""},
    {"huawei.com/Ascend910A", "huawei.com/Ascend910A-memory", "", "huawei.com/Ascend910A-core"},
    {"huawei.com/Ascend910B2", "huawei.com/Ascend910B2-memory", "", "huawei.com/Ascend910B2-core"},
    {"huawei.com/Ascend910B3", "huawei.com/Ascend910B3-memory", "", "huawei.com/Ascend910B3-core"},
    {"huawei.com/Ascend910B4", "huawei.com/Ascend910B4-memory", "", "huawei.com/Ascend910B4-core"},
    {"huawei.com/Ascend910C", "huawei.com/Ascend910C-memory", "", "huawei.com/Ascend910C-core"},
    {"huawei.com/Ascend310P", "huawei.com/Ascend310P-memory", "", "huawei.com/Ascend310P-core"},
    {"huawei.com/Ascend910", "", "", ""},
    {"metax-tech.com/gpu", "", "", ""},
    {"enflame.com/gcu", "", "", ""},
    {"kunlunxin.com/xpu", "", "", ""},
    {"birentech.com/gpu", "", "", ""},
    {"vastaitech.com/va", "", "", ""},
    {"intel.com/gpu", "", "", ""},
}};

constexpr std::string_view kOpenCount = "alibabacloud.com/gpu-count";
constexpr std::string_view kOpenMilli = "alibabacloud.com/gpu-milli";
constexpr std::string_view kOpenModel = "alibabacloud.com/gpu-card-model";

// The whole number under a name, taken out of both lists; -1 when it is in neither.
std::int64_t Take(const std::string& file, std::string_view name, std::int64_t high,
                  Amounts* limits, Amounts* requests, Diagnostics* diagnostics) {
  std::int64_t value = -1;
  for (Amounts* list : {requests, limits}) {  // what is in the limits wins
    const auto found = name.empty() ? list->end() : list->find(name);
    if (found == list->end()) continue;
    bool exact = true;
    if (!ParseQuantity(found->second.text, 1, 1, Round::kDown, &value, &exact) || !exact ||
        value > high) {
      value = -1;
      diagnostics->Add(At(file, found->second.line),
                       std::string(name) + ' ' + Quoted(found->second.text) +
                           " is not a whole number; write 0.." + std::to_string(high));
    }
    list->erase(found);
  }
  return value;
}

struct Card {
  std::string model;
  std::int64_t mem_mib = -1;
};

std::vector<std::string_view> Split(std::string_view text, char at) {
  std::vector<std::string_view> out;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(at, begin), text.size());
    out.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

// HAMi's node register: JSON since v2.8, before that "id,count,devmem,devcore,type,numa,health:".
// Volcano's is text too, with "uuid,count,memory,type,health,mode:".
std::vector<Card> Registered(const std::string& file, const JsonValue& text, std::size_t type_at,
                             Diagnostics* diagnostics) {
  std::vector<Card> out;
  const auto fault = [&] {
    diagnostics->Add(At(file, text.line), Quoted(text.key) +
                                              " is not a device register that is known here; "
                                              "remove the annotation or correct it");
    return std::vector<Card>{};
  };
  const std::size_t begin = text.text.find_first_not_of(" \t\r\n");
  if (begin != std::string::npos && text.text[begin] == '[') {
    const auto list = nlohmann::json::parse(text.text, nullptr, /*allow_exceptions=*/false);
    if (!list.is_array()) return fault();
    for (const auto& device : list) {
      if (!device.is_object()) return fault();
      Card& card = out.emplace_back();
      if (const auto type = device.find("type"); type != device.end() && type->is_string()) {
        card.model = type->get<std::string>();
      }
      if (const auto memory = device.find("devmem");
          memory != device.end() && memory->is_number_unsigned()) {
        const auto mib = memory->get<std::uint64_t>();
        if (mib >= 1 && mib <= static_cast<std::uint64_t>(kMaxAmount)) {
          card.mem_mib = static_cast<std::int64_t>(mib);
        }
      }
    }
  } else {
    for (const std::string_view device : Split(text.text, ':')) {
      if (device.empty()) continue;
      const std::vector<std::string_view> parts = Split(device, ',');
      Card& card = out.emplace_back();
      if (parts.size() <= type_at ||
          ParseWhole(parts[2], false, &card.mem_mib) != NumberFault::kNone || card.mem_mib < 1 ||
          card.mem_mib > kMaxAmount) {
        return fault();
      }
      card.model = parts[type_at];
    }
  }
  if (std::ranges::any_of(out, [](const Card& c) { return c.model.size() > kMaxNameBytes; })) {
    return fault();
  }
  return out;
}

}  // namespace

Amounts AmountsOf(const JsonValue* list) {
  Amounts out;
  if (list == nullptr) return out;
  for (const JsonValue& member : list->items) out[member.key] = {member.text, member.line};
  return out;
}

bool IsDevice(std::string_view resource) {
  return resource.find('/') != std::string_view::npos &&
         resource.find("kubernetes.io/") == std::string_view::npos;
}

CardAsk TakeCards(const std::string& file, Amounts* limits, Amounts* requests,
                  Diagnostics* diagnostics) {
  CardAsk ask;
  bool found = false;
  for (const Device& device : kDevices) {
    CardAsk one;
    const auto take = [&](std::string_view name, std::int64_t high) {
      return Take(file, name, high, limits, requests, diagnostics);
    };
    one.cards = take(device.count, kMaxCards);
    one.mem_mib = take(device.memory, kMaxAmount / device.memory_unit);
    one.mem_percent = take(device.percent, 100);
    std::int64_t cores = take(device.cores, 100);
    if (one.mem_mib > 0) one.mem_mib *= device.memory_unit;
    if (one.mem_mib == 0) one.mem_mib = -1;
    if (one.mem_percent == 0) one.mem_percent = -1;
    if (one.cards < 0) {
      one.cards = one.mem_mib > 0 || one.mem_percent > 0 || cores > 0 ? 1 : 0;
    }
    if (one.cards == 0) continue;
    if (cores < 0) {
      const bool whole = (one.mem_mib < 0 && one.mem_percent < 0) || one.mem_percent == 100;
      cores = whole || device.whole_compute ? 100 : 0;
    }
    one.milli = cores * 10;
    if (found) {
      // Two vendors in one container: no such pod runs, and the sum would hide it.
      diagnostics->Add(file, "a container asks for " + std::string(device.count) +
                                 " besides cards of another name; leave one of them");
      continue;
    }
    found = true;
    ask = one;
  }
  return ask;
}

bool CardsOfAnnotations(const std::string& file, const JsonValue* annotations, CardAsk* ask,
                        std::string* spec, Diagnostics* diagnostics) {
  const JsonValue* count = annotations == nullptr ? nullptr : annotations->Find(kOpenCount);
  const JsonValue* milli = annotations == nullptr ? nullptr : annotations->Find(kOpenMilli);
  if (count == nullptr && milli == nullptr) return false;
  const auto read = [&](const JsonValue* value, std::string_view name, std::int64_t otherwise,
                        std::int64_t high) {
    std::int64_t number = otherwise;
    if (value != nullptr &&
        (ParseWhole(value->text, false, &number) != NumberFault::kNone || number > high)) {
      diagnostics->Add(At(file, value->line), std::string(name) + ' ' + Quoted(value->text) +
                                                  " is not a whole number; write 0.." +
                                                  std::to_string(high));
      return otherwise;
    }
    return number;
  };
  ask->cards = read(count, kOpenCount, 1, kMaxCards);
  ask->milli = read(milli, kOpenMilli, kWholeCard, kWholeCard);
  if (ask->cards == 0 || ask->milli == 0) *ask = {};
  *spec = annotations->TextAt({kOpenModel});
  return true;
}

NodeCards CardsOfNode(const std::string& file, const JsonValue& node, Amounts* allocatable,
                      Diagnostics* diagnostics) {
  NodeCards out;
  Amounts none;
  const auto take = [&](std::string_view name) {
    return Take(file, name, kMaxAmount, allocatable, &none, diagnostics);
  };
  std::int64_t counted = take(kOpenCount);
  take(kOpenMilli);
  std::int64_t slots = -1;
  for (const Device& device : kDevices) {
    const std::int64_t cards = take(device.count);
    take(device.memory);
    take(device.percent);
    take(device.cores);
    // Volcano's number is that of shares, not of cards.
    if (device.count.starts_with("volcano.sh/")) {
      slots = cards;
    } else if (counted <= 0) {
      counted = cards;
    }
  }
  const JsonValue* annotations = node.At({"metadata", "annotations"});
  std::vector<Card> cards;
  if (annotations != nullptr) {
    constexpr std::size_t kHamiType = 4, kVolcanoType = 3;
    const JsonValue* hami = annotations->Find("hami.io/node-nvidia-register");
    const JsonValue* volcano = annotations->Find("volcano.sh/node-vgpu-register");
    if (hami != nullptr) {
      cards = Registered(file, *hami, kHamiType, diagnostics);
      // HAMi's device plugin offers nvidia.com/gpu several times a card.
      if (!cards.empty()) counted = static_cast<std::int64_t>(cards.size());
    } else if (volcano != nullptr && slots > 0) {
      cards = Registered(file, *volcano, kVolcanoType, diagnostics);
      if (counted <= 0) counted = static_cast<std::int64_t>(cards.size());
    }
  }
  out.count = std::max<std::int64_t>(counted, 0);
  for (const Card& card : cards) {
    if (out.model.empty()) out.model = card.model;
    out.mixed |= card.model != out.model || card.mem_mib != cards.front().mem_mib;
    if (card.mem_mib > 0) {
      out.mem_mib = out.mem_mib < 0 ? card.mem_mib : std::min(out.mem_mib, card.mem_mib);
    }
  }
  for (const std::string_view label : {std::string_view("nvidia.com/gpu.product"), kOpenModel}) {
    const std::string_view model = node.TextAt({"metadata", "labels", label});
    if (!model.empty()) {
      out.model = model;
      break;
    }
  }
  const std::string_view memory = node.TextAt({"metadata", "labels", "nvidia.com/gpu.memory"});
  std::int64_t mib = 0;
  if (out.mem_mib < 0 && ParseWhole(memory, false, &mib) == NumberFault::kNone && mib >= 1 &&
      mib <= kMaxAmount) {
    out.mem_mib = mib;
  }
  return out;
}

std::string CardsOfPod(const JsonValue* annotations) {
  std::string out;
  if (annotations == nullptr) return out;
  const auto add = [&](std::string_view id) {
    if (id.empty() || id.find(';') != std::string_view::npos) return;
    if (!out.empty()) out += ';';
    out += id;
  };
  for (const char* key : {"hami.io/vgpu-devices-allocated", "volcano.sh/vgpu-ids-new"}) {
    for (const std::string_view container : Split(annotations->TextAt({key}), ';')) {
      for (const std::string_view device : Split(container, ':')) {
        add(device.substr(0, device.find(',')));
      }
    }
    if (!out.empty()) return out;
  }
  for (const std::string_view index :
       Split(annotations->TextAt({"alibabacloud.com/gpu-index"}), '-')) {
    add(index);
  }
  return out;
}

}  // namespace basalt::trace
