#include "traces/kube_nodes.h"

#include <algorithm>
#include <array>

#include "traces/csv.h"
#include "traces/kube_registers.h"
#include "traces/limits.h"

namespace basalt::trace {
namespace {

// How a node's capacity counts cards where no register says more. Cambricon's and Moore Threads'
// names count cores and memory of all cards together (HAMi v2.10).
struct CapacityName {
  std::string_view name, model;  // the model as far as the name says it, else the vendor
  std::int64_t per_card = 1;
  std::string_view memory = {};
  std::int64_t memory_unit_mib = 0;
};
constexpr std::array<CapacityName, 15> kCapacities = {{
    {"nvidia.com/gpu", "nvidia"},
    {"amd.com/gpu", "amd"},
    {"metax-tech.com/gpu", "metax"},
    {"enflame.com/gcu", "enflame"},
    {"kunlunxin.com/xpu", "kunlunxin"},
    {"cambricon.com/mlu.smlu.vcore", "cambricon", 100, "cambricon.com/mlu.smlu.vmemory", 256},
    {"mthreads.com/sgpu-core", "mthreads", 16, "mthreads.com/sgpu-memory", 512},
    {"cambricon.com/mlu", "cambricon"},
    {"huawei.com/Ascend910", "ascend"},
    {"huawei.com/Ascend310", "ascend"},
    {"huawei.com/Ascend310P", "Ascend310P"},
    {"birentech.com/gpu", "biren"},
    {"vastaitech.com/va", "vastai"},
    {"aws.amazon.com/neuron", "aws"},
    {"intel.com/gpu", "intel"},
}};
}  // namespace

NodeCards CardsOfNode(const std::string& file, const JsonValue& node, Amounts* allocatable,
                      Diagnostics* diagnostics) {
  NodeCards out;
  Amounts none;
  const auto take = [&](std::string_view name) {
    return TakeWhole(file, name, kMaxAmount, allocatable, &none, diagnostics);
  };
  std::int64_t counted = take(kOpenCount);
  take(kOpenMilli);
  std::string capacity_model;
  for (const CapacityName& capacity : kCapacities) {
    const std::int64_t all = take(capacity.name);
    const std::int64_t memory = take(capacity.memory);
    if (counted > 0 || all < capacity.per_card) continue;
    counted = all / capacity.per_card;
    capacity_model = capacity.model;
    if (memory > 0 && memory <= kMaxAmount / capacity.memory_unit_mib) {
      out.mem_mib = memory * capacity.memory_unit_mib / counted;
    }
  }
  std::vector<RegisteredCard> cards;
  const JsonValue* annotations = node.At({"metadata", "annotations"});
  const Registers registered = ReadRegisters(file, annotations, &cards, diagnostics);
  // Names of parts say nothing beside a register, and not how many cards there are without one.
  for (auto at = allocatable->begin(); at != allocatable->end();) {
    if (!IsCardName(at->first)) {
      ++at;
      continue;
    }
    const bool some = at->second.text != "0";
    if (registered == Registers::kNone && counted <= 0 && some) {
      out.shares.push_back(at->first);
      ++at;  // stays for `extra`
    } else {
      at = allocatable->erase(at);
    }
  }
  if (registered != Registers::kNone) {
    if (registered == Registers::kOthers) counted = 0;
    capacity_model.clear();
    out.mem_mib = -1;
    std::erase_if(cards, [&](const RegisteredCard& card) {
      out.unhealthy += card.healthy ? 0 : 1;
      return !card.healthy;
    });
    counted = std::max(counted, static_cast<std::int64_t>(cards.size()));
  }
  out.count = std::max<std::int64_t>(counted, 0);
  for (const RegisteredCard& card : cards) {
    if (out.model.empty()) out.model = card.model;
    out.mixed |= card.model != out.model || card.mem_mib != cards.front().mem_mib;
    if (card.mem_mib > 0) {
      out.mem_mib = out.mem_mib < 0 ? card.mem_mib : std::min(out.mem_mib, card.mem_mib);
    }
  }
  for (const std::string_view label : {std::string_view("nvidia.com/gpu.product"), kOpenModel}) {
    const std::string_view model = node.TextAt({"metadata", "labels", label});
    if (!model.empty()) {
      out.model = CatalogModel(model, false);
      break;
    }
  }
  if (out.model.empty()) out.model = capacity_model;
  out.by_vendor =
      devices::FindModel(CardCatalog(), out.model) == nullptr &&
      std::ranges::find(kCapacities, out.model, &CapacityName::model) != kCapacities.end();
  const std::string_view memory = node.TextAt({"metadata", "labels", "nvidia.com/gpu.memory"});
  std::int64_t mib = 0;
  if (out.mem_mib < 0 && ParseWhole(memory, false, &mib) == NumberFault::kNone && mib >= 1 &&
      mib <= kMaxAmount) {
    out.mem_mib = mib;
  }
  return out;
}

}  // namespace basalt::trace
