#include "devices/resources.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "devices/resource_slices.h"
#include "devices/resources_spec.h"
#include "devices/selectors.h"

namespace basalt::devices {
namespace {

void Put(const CardsAsked& ask, ContainerSpec* container) {
  container->gpu_milli = static_cast<MilliGpu>(ask.milli);
  container->gpu_memory_mib = ask.memory_mib;
  container->gpu_memory_percent = static_cast<std::int32_t>(ask.percent);
  container->compute_units = static_cast<std::int32_t>(ask.units);
}

struct ContainerAsk {
  CardsAsked cards;
  std::int64_t cpu_milli = 0;
  std::int64_t memory_mib = 0;
};

// A count of 0, as templates write it for the vendors that a pod does not want.
bool AsksForNone(const Interface& interface, const NamedAmounts& amounts) {
  const auto limit = amounts.limits.find(interface.count);
  if (limit != amounts.limits.end()) return limit->second == "0";
  const auto request = amounts.requests.find(interface.count);
  return request != amounts.requests.end() && request->second == "0";
}

// Which of the offers the pod asks through: none, or one. `asked` has the amounts by container.
Result<const Offer*> ChooseOffer(const std::vector<Offer>& offers,
                                 const std::vector<NamedAmounts>& amounts,
                                 const PodResources& pod) {
  const Offer* chosen = nullptr;
  for (std::size_t i = 0; i < amounts.size(); ++i) {
    for (const Offer& offer : offers) {
      if (&offer == chosen || !AsksThrough(offer.interface, amounts[i]) ||
          AsksForNone(offer.interface, amounts[i])) {
        continue;
      }
      if (chosen != nullptr) {
        const auto name = [](const Offer& o) {
          return o.interface.name + (o.models.size() == 1 ? " " + o.models.front()->name : "");
        };
        return Fail("container " + pod.containers[i].name,
                    fmt::format("the pod asks for cards in two ways, {} and {}; use one",
                                name(*chosen), name(offer)));
      }
      chosen = &offer;
    }
  }
  return chosen;
}

// Names of interfaces whose mode the pod did not choose.
Status RefuseUnchosenModes(const Catalog& catalog, const Offer* chosen,
                           const std::vector<NamedAmounts>& amounts, const PodResources& pod) {
  for (const Vendor& vendor : catalog.vendors) {
    for (const Interface& interface : vendor.interfaces) {
      if (interface.mode_key.empty() || interface.cores.empty()) continue;
      if (chosen != nullptr && chosen->interface.name == interface.name) continue;
      for (const CardModel& model : vendor.models) {
        if (!Serves(interface, model)) continue;
        const std::string name = ForWord(interface, model.word).cores;
        for (std::size_t i = 0; i < amounts.size(); ++i) {
          if (amounts[i].limits.contains(name) || amounts[i].requests.contains(name)) {
            return Fail("container " + pod.containers[i].name + ": " + name,
                        fmt::format("needs the annotation {}: {}", interface.mode_key,
                                    interface.mode_value));
          }
        }
      }
    }
  }
  return {};
}

// An init container's cards are those of a container that asks for the same.
Status PlaceInit(const PodResources& pod, const std::vector<ContainerAsk>& asks, PodRequest* out) {
  for (std::size_t i = 0; i < pod.containers.size(); ++i) {
    ContainerSlot& slot = out->slots[i];
    if (!pod.containers[i].init || pod.containers[i].sidecar || asks[i].cards.count == 0) continue;
    for (std::size_t other = 0; other < asks.size() && slot.container < 0; ++other) {
      const PodContainer& c = pod.containers[other];
      if ((!c.init || c.sidecar) && asks[other].cards == asks[i].cards) {
        slot.container = out->slots[other].container;
      }
    }
    if (slot.container < 0) {
      return Fail("init container " + slot.name,
                  "asks for cards that no container of the pod asks for; ask for the same, so that "
                  "it can use that container's cards");
    }
  }
  return {};
}

void FillSpec(const PodResources& pod, const std::vector<ContainerAsk>& asks, PodRequest* out) {
  RequestSpec& spec = out->spec;
  std::int64_t init_cpu = 0;
  std::int64_t init_memory = 0;
  std::vector<ContainerSpec> containers;
  const CardsAsked* only = nullptr;
  int with_cards = 0;
  for (std::size_t i = 0; i < pod.containers.size(); ++i) {
    const PodContainer& c = pod.containers[i];
    const ContainerAsk& ask = asks[i];
    if (c.init && !c.sidecar) {
      init_cpu = std::max(init_cpu, ask.cpu_milli);
      init_memory = std::max(init_memory, ask.memory_mib);
      continue;
    }
    ContainerSpec one{.cpu_milli = ask.cpu_milli,
                      .memory_mib = ask.memory_mib,
                      .gpus = static_cast<std::int32_t>(ask.cards.count)};
    if (ask.cards.count > 0) {
      out->slots[i].container = static_cast<int>(containers.size());
      Put(ask.cards, &one);
      only = &ask.cards;
      ++with_cards;
    }
    spec.cpu_milli += one.cpu_milli;
    spec.memory_mib += one.memory_mib;
    spec.gpus += one.gpus;
    containers.push_back(one);
  }
  if (containers.empty()) return;
  // What init containers need beyond the others is counted with the first.
  const std::int64_t more_cpu = std::max<std::int64_t>(0, init_cpu - spec.cpu_milli);
  const std::int64_t more_memory = std::max<std::int64_t>(0, init_memory - spec.memory_mib);
  spec.cpu_milli += more_cpu;
  spec.memory_mib += more_memory;
  containers.front().cpu_milli += more_cpu;
  containers.front().memory_mib += more_memory;
  if (with_cards == 1) {  // then the pod says it
    ContainerSpec pod_wide;
    Put(*only, &pod_wide);
    spec.gpu_milli = pod_wide.gpu_milli;
    spec.gpu_memory_mib = pod_wide.gpu_memory_mib;
    spec.gpu_memory_percent = pod_wide.gpu_memory_percent;
    spec.compute_units = pod_wide.compute_units;
    for (ContainerSpec& container : containers) Put(CardsAsked{}, &container);
  }
  if (containers.size() > 1) spec.containers = std::move(containers);
}

}  // namespace

// Nodes with such cards have the label and the taint (node_resources.h).
Status AddClaimed(const Catalog& catalog, const PodResources& pod, RequestSpec* spec) {
  const ClaimedCards& claimed = pod.claimed;
  if (claimed.count == 0) return {};
  const std::string_view vendor = VendorOfDriver(claimed.driver);
  if (vendor.empty()) return Fail(pod.name, "claims cards of an unknown driver " + claimed.driver);
  if (spec->gpus > 0) {
    return Fail(pod.name, "asks for cards by a resource claim and by resources; use one");
  }
  spec->containers.clear();  // which of them use a claim does not matter to the node
  spec->gpus = claimed.count;
  spec->mig_profile = claimed.mig_profile;
  if (claimed.mig_profile.empty()) spec->gpu_milli = kWholeCard;
  for (const std::string& product : claimed.products) {
    const std::string model =
        product.empty() ? std::string(vendor) : ModelOfProduct(catalog, product);
    if (std::ranges::find(spec->models, model) == spec->models.end()) spec->models.push_back(model);
  }
  spec->use_uuids = claimed.uuids;
  spec->node_selector.push_back({DriverLabel(claimed.driver), "true"});
  spec->tolerations.emplace_back(kClaimsOnlyTaint);
  return {};
}

Result<PodRequest> ReadRequest(const Catalog& catalog, const PodResources& pod) {
  const auto fail = [](const Error& error) { return tl::unexpected<Error>(error); };
  PodRequest out;
  out.spec.node_selector = pod.node_selector;
  const auto place = [&](std::size_t i) { return "container " + pod.containers[i].name; };
  if (pod.containers.empty()) return Fail(pod.name, "a pod needs a container");
  std::vector<NamedAmounts> amounts;
  for (std::size_t i = 0; i < pod.containers.size(); ++i) {
    auto named = RenameModelResources(catalog, pod.containers[i], place(i));
    if (!named) return fail(named.error());
    amounts.push_back(std::move(*named));
  }
  const std::vector<Offer> offers = OffersFor(catalog, pod.annotations);
  const auto chosen = ChooseOffer(offers, amounts, pod);
  if (!chosen) return fail(chosen.error());
  if (Status ok = RefuseUnchosenModes(catalog, *chosen, amounts, pod); !ok) {
    return fail(ok.error());
  }
  out.spec.passthrough = std::ranges::any_of(amounts, &NamedAmounts::passthrough);
  std::vector<ContainerAsk> asks(pod.containers.size());
  std::vector<std::string> models;
  bool neutral = false;
  for (std::size_t i = 0; i < pod.containers.size(); ++i) {
    const PodContainer& container = pod.containers[i];
    const auto cpu = CpuMilliOf(container, place(i));
    if (!cpu) return fail(cpu.error());
    const auto memory = MemoryMibOf(container, place(i));
    if (!memory) return fail(memory.error());
    auto cards = AskNeutral(amounts[i], place(i));
    if (!cards) return fail(cards.error());
    if (cards->count > 0 && *chosen != nullptr) {
      return Fail(place(i), fmt::format("the pod asks for {} and through {}; use one",
                                        kNeutralCards, (*chosen)->interface.name));
    }
    neutral = neutral || cards->count > 0;
    if (*chosen != nullptr && AsksThrough((*chosen)->interface, amounts[i])) {
      Offer offer = **chosen;
      if (out.spec.passthrough != amounts[i].passthrough) {
        return Fail(place(i), "a pod has passthrough cards or others, not both");
      }
      if (!amounts[i].models.empty()) {
        if (!models.empty() && models != amounts[i].models) {
          return Fail(place(i), "another container of the pod asks for another model");
        }
        models = amounts[i].models;
        std::erase_if(offer.models, [&](const CardModel* m) {
          return std::ranges::find(models, m->name) == models.end();
        });
      }
      cards = AskThrough(offer, amounts[i], place(i));
      if (!cards) return fail(cards.error());
    }
    if (!cards->mig_profile.empty()) {
      if (!out.spec.mig_profile.empty() && out.spec.mig_profile != cards->mig_profile) {
        return Fail(place(i), "a pod may have one MIG profile, and another container has " +
                                  out.spec.mig_profile);
      }
      out.spec.mig_profile = cards->mig_profile;
    }
    asks[i] = {std::move(*cards), *cpu, *memory};
    out.slots.push_back(
        {.name = container.name, .init = container.init, .sidecar = container.sidecar});
  }
  FillSpec(pod, asks, &out);
  if (out.spec.gpus > 0) {
    if (*chosen != nullptr) {
      out.interface = (*chosen)->interface.name;
      if (Status ok = ReadSelectors(**chosen, pod.annotations, models, &out.spec); !ok) {
        return fail(ok.error());
      }
    }
    if (Status ok = ReadOwnAnnotations(catalog, pod.annotations, neutral, &out.spec); !ok) {
      return fail(ok.error());
    }
  }
  if (Status ok = PlaceInit(pod, asks, &out); !ok) return fail(ok.error());
  if (Status ok = AddClaimed(catalog, pod, &out.spec); !ok) return fail(ok.error());
  if (Status ok = CheckSelection(catalog, out.spec, pod.name); !ok) return fail(ok.error());
  if (Status ok = ValidateRequest(out.spec, pod.name); !ok) return fail(ok.error());
  return out;
}

bool IsCardResource(const Catalog& catalog, const std::string& resource) {
  if (resource == kNeutralCards || resource == kNeutralMemory || resource == kNeutralPercent ||
      resource == kNeutralUnits) {
    return true;
  }
  PodContainer container;
  container.limits[resource] = "1";
  const auto named = RenameModelResources(catalog, container, resource);
  if (!named || !named->models.empty()) return true;
  for (const Vendor& vendor : catalog.vendors) {
    for (const Interface& interface : vendor.interfaces) {
      if (!HasWord(interface)) {
        if (AsksThrough(interface, *named)) return true;
        continue;
      }
      for (const CardModel& model : vendor.models) {
        if (AsksThrough(ForWord(interface, model.word), *named)) return true;
      }
    }
  }
  return false;
}

}  // namespace basalt::devices
