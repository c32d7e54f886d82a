#include "traces/kube_devices.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "devices/assignment.h"
#include "devices/catalog.h"
#include "devices/resources.h"
#include "scheduler-core/base/result.h"
#include "traces/csv.h"
#include "traces/kube_quantity.h"
#include "traces/limits.h"
#include "traces/text.h"

namespace basalt::trace {
namespace {

// Names that ask for whole cards and that the catalog does not have.
constexpr std::array<std::string_view, 7> kWholeNames = {
    "cambricon.com/mlu", "huawei.com/Ascend910",  "huawei.com/Ascend310", "birentech.com/gpu",
    "vastaitech.com/va", "aws.amazon.com/neuron", "intel.com/gpu"};

devices::Amounts Plain(const Amounts& amounts) {
  devices::Amounts out;
  for (const auto& [name, amount] : amounts) {
    if (IsCardName(name)) out[name] = amount.text;
  }
  return out;
}

CardAsk AskOf(MilliGpu milli, MiB memory, std::int32_t percent, std::int32_t cards) {
  CardAsk ask{.cards = cards, .milli = milli};
  if (memory > 0) ask.mem_mib = memory;
  if (percent > 0) ask.mem_percent = percent;
  return ask;
}

// The smallest of the instances that models have under this name; null: none has.
const MigProfile* SmallestMig(const std::string& name) {
  const MigProfile* best = nullptr;
  for (const devices::Vendor& vendor : CardCatalog().vendors) {
    for (const devices::CardModel& model : vendor.models) {
      for (const MigProfile& one : model.rules.mig) {
        if (one.name == name && (best == nullptr || one.memory_mib < best->memory_mib)) best = &one;
      }
    }
  }
  return best;
}

// What the vendors make of one container's ask (templates, granularity, units), where that is the
// same on all of the models that can serve it.
std::optional<SliceTake> SameOnAll(const RequestSpec& ask,
                                   const std::vector<const devices::CardModel*>& models) {
  std::optional<SliceTake> same;
  for (const devices::CardModel* model : models) {
    CardSpec card;
    card.model = model->name;
    card.memory_mib = model->memory_mib;
    const SliceTake take =
        devices::UniformSlices(CardCatalog(), ask, CardSet::Of(0), {card}).front();
    if (take.milli == 0 && take.memory == 0) continue;  // not on this one
    if (same && (same->whole != take.whole || same->milli != take.milli ||
                 (!take.whole && same->memory != take.memory))) {
      return std::nullopt;
    }
    same = take;
  }
  return same;
}

// The models that the request allows by name; none: any. Where it excludes some, or names vendors
// of its own choice, all others of the catalog.
std::vector<std::string> ModelsOf(const devices::PodRequest& request) {
  const RequestSpec& spec = request.spec;
  std::vector<std::string> models = spec.models;
  const bool chooses = !spec.nouse_models.empty() || request.interface.empty();
  for (const devices::Vendor& vendor : CardCatalog().vendors) {
    if (!spec.models.empty() || !chooses) break;
    if (spec.vendors.empty() ? spec.nouse_models.empty()
                             : std::ranges::find(spec.vendors, vendor.name) == spec.vendors.end()) {
      continue;
    }
    for (const devices::CardModel& model : vendor.models) models.push_back(model.name);
  }
  std::erase_if(models, [&](const std::string& model) {
    return std::ranges::find(spec.nouse_models, model) != spec.nouse_models.end();
  });
  return models;
}

PodAsk FromRequest(const devices::PodRequest& request) {
  const RequestSpec& spec = request.spec;
  PodAsk out;
  if (spec.gpus == 0) return out;
  out.mig_profile = spec.mig_profile;
  const std::vector<std::string> models = ModelsOf(request);
  for (const std::string& model : models) {
    if (!out.models.empty()) out.models += '|';
    out.models += model;
  }
  std::vector<const devices::CardModel*> allowed;
  for (const std::string& model : models)
    allowed.push_back(devices::FindModel(CardCatalog(), model));
  if (allowed.empty() && !request.interface.empty()) {
    for (const devices::CardModel& m :
         devices::FindVendor(CardCatalog(), spec.vendors[0])->models) {
      allowed.push_back(&m);
    }
  }
  const auto add = [&](const ContainerSpec& own, bool pod_wide) {
    if (own.gpus == 0) return;
    RequestSpec one;
    one.gpus = own.gpus;
    one.gpu_milli = pod_wide ? spec.gpu_milli : own.gpu_milli;
    one.gpu_memory_mib = pod_wide ? spec.gpu_memory_mib : own.gpu_memory_mib;
    one.gpu_memory_percent = pod_wide ? spec.gpu_memory_percent : own.gpu_memory_percent;
    one.compute_units = pod_wide ? spec.compute_units : own.compute_units;
    CardAsk ask = AskOf(one.gpu_milli, one.gpu_memory_mib, one.gpu_memory_percent, own.gpus);
    if (!spec.mig_profile.empty()) {
      if (const MigProfile* mig = SmallestMig(spec.mig_profile)) {
        ask = AskOf(mig->compute_milli, mig->memory_mib, 0, own.gpus);
      }
    } else if (one.gpu_milli != kWholeCard) {
      if (const auto take = SameOnAll(one, allowed)) {
        ask = AskOf(take->whole ? kWholeCard : take->milli, take->whole ? 0 : take->memory, 0,
                    own.gpus);
        one.compute_units = 0;
      }
    }
    if (ask.milli == kWholeCard && ask.mem_percent == 100) ask.mem_percent = -1;
    out.units = std::max<std::int64_t>(out.units, one.compute_units);
    out.asks.push_back(ask);
  };
  if (spec.containers.empty()) {
    ContainerSpec all;
    all.gpus = spec.gpus;
    add(all, true);
    return out;
  }
  const auto with =
      std::ranges::count_if(spec.containers, [](const ContainerSpec& c) { return c.gpus > 0; });
  for (const ContainerSpec& container : spec.containers) add(container, with == 1);
  return out;
}

// Whether it is a MIG resource of a profile that no model has.
bool IsForeignMig(const std::string& resource) {
  for (const devices::Vendor& vendor : CardCatalog().vendors) {
    for (const devices::Interface& interface : vendor.interfaces) {
      if (interface.mig_prefix.empty() || !resource.starts_with(interface.mig_prefix)) continue;
      std::string profile = resource.substr(interface.mig_prefix.size());
      if (profile.ends_with(".me")) profile.replace(profile.size() - 3, 1, "+");
      return std::ranges::none_of(vendor.models, [&](const devices::CardModel& model) {
        return std::ranges::find(model.rules.mig, profile, &MigProfile::name) !=
               model.rules.mig.end();
      });
    }
  }
  return false;
}

bool ChoosesTypes(const std::string& annotation) {
  for (const devices::Vendor& vendor : CardCatalog().vendors) {
    for (const devices::Interface& interface : vendor.interfaces) {
      for (const auto* keys : {&interface.use_type, &interface.nouse_type}) {
        if (std::ranges::find(*keys, annotation) != keys->end()) return true;
      }
    }
  }
  return false;
}

// Containers that hold cards at the same time.
struct Together {
  devices::PodResources pod{.name = "the pod"};
  std::vector<CardAsk> whole;  // by names that the catalog does not have
};

Result<PodAsk> AskOf(Together together) {
  PodAsk out;
  if (together.pod.containers.empty()) {
    out.asks = std::move(together.whole);
    return out;
  }
  auto request = devices::ReadRequest(CardCatalog(), together.pod);
  std::vector<std::pair<std::string, std::string>> types;
  while (!request) {
    // A cluster may have cards that the catalog does not know, and pods that choose them.
    constexpr std::string_view kPlace = "annotation ";
    const std::string& where = request.error().where;
    const std::string key = where.starts_with(kPlace) ? where.substr(kPlace.size()) : "";
    const auto note = together.pod.annotations.find(key);
    if (note == together.pod.annotations.end() || !ChoosesTypes(key)) {
      return tl::unexpected<Error>(request.error());
    }
    types.emplace_back(*note);
    together.pod.annotations.erase(note);
    request = devices::ReadRequest(CardCatalog(), together.pod);
  }
  out = FromRequest(*request);
  out.types = std::move(types);
  if (!together.whole.empty()) {
    if (!out.asks.empty()) {
      return Fail(together.pod.name, "asks for cards of several vendors; leave one of them");
    }
    out.asks = std::move(together.whole);
  }
  return out;
}

std::int64_t CardsIn(const PodAsk& ask) {
  std::int64_t sum = 0;
  for (const CardAsk& one : ask.asks) sum += one.cards;
  return sum;
}

}  // namespace

const devices::Catalog& CardCatalog() {
  static const devices::Catalog catalog = devices::EmbeddedCatalog();
  return catalog;
}

std::int64_t TakeWhole(const std::string& file, std::string_view name, std::int64_t high,
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

bool IsCardName(const std::string& resource) {
  if (resource.size() > kMaxNameBytes) return false;
  // Clusters have few names and many pods.
  thread_local std::map<std::string, bool> known;
  if (const auto found = known.find(resource); found != known.end()) return found->second;
  if (known.size() > 1000) known.clear();
  const bool is = std::ranges::find(kWholeNames, resource) != kWholeNames.end() ||
                  (devices::IsCardResource(CardCatalog(), resource) && !IsForeignMig(resource));
  known[resource] = is;
  return is;
}

std::vector<std::string_view> SplitAt(std::string_view text, char at) {
  std::vector<std::string_view> out;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(at, begin), text.size());
    out.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

Amounts AmountsOf(const JsonValue* list) {
  Amounts out;
  if (list == nullptr) return out;
  for (const JsonValue& member : list->items) out[member.key] = {member.text, member.line};
  return out;
}

bool IsDevice(std::string_view resource) {
  if (resource.find('/') != std::string_view::npos) {
    return resource.find("kubernetes.io/") == std::string_view::npos;
  }
  return resource != "cpu" && resource != "memory" && resource != "storage" &&
         resource != "ephemeral-storage" && resource != "pods" &&
         !resource.starts_with("hugepages-") && !resource.starts_with("attachable-volumes-");
}

PodAsk TakeCards(const std::string& file, const JsonValue* annotations,
                 std::vector<KubeContainer>* containers, Diagnostics* diagnostics) {
  std::uint32_t line = 0;
  Together running;
  std::vector<Together> inits;
  for (KubeContainer& container : *containers) {
    Together one;
    for (const std::string_view name : kWholeNames) {
      const std::int64_t cards =
          TakeWhole(file, name, kMaxCards, &container.limits, &container.requests, diagnostics);
      if (cards > 0) one.whole.push_back({.cards = cards, .milli = kWholeCard});
    }
    constexpr std::size_t kLongestName = 253;  // Kubernetes' own bound
    const bool anonymous = container.name.empty() || container.name.size() > kLongestName;
    devices::PodContainer named{
        .name = anonymous ? std::to_string(&container - containers->data()) : container.name,
        .limits = Plain(container.limits),
        .requests = Plain(container.requests)};
    for (Amounts* list : {&container.limits, &container.requests}) {
      for (auto at = list->begin(); at != list->end();) {
        if (!IsCardName(at->first)) {
          ++at;
          continue;
        }
        if (line == 0) line = at->second.line;
        at = list->erase(at);
      }
    }
    const bool some = !named.limits.empty() || !named.requests.empty();
    if (some) one.pod.containers.push_back(std::move(named));
    if (container.init && !container.sidecar) {
      if (some || !one.whole.empty()) inits.push_back(std::move(one));
      continue;
    }
    running.whole.insert(running.whole.end(), one.whole.begin(), one.whole.end());
    if (some) running.pod.containers.push_back(std::move(one.pod.containers.front()));
  }
  std::map<std::string, std::string> notes;
  if (annotations != nullptr && line != 0) {
    for (const JsonValue& note : annotations->items) {
      if (note.Is(JsonValue::Kind::kString)) notes[note.key] = note.text;
    }
  }
  PodAsk out;
  inits.insert(inits.begin(), std::move(running));
  for (Together& together : inits) {
    together.pod.annotations = notes;
    auto ask = AskOf(std::move(together));
    if (!ask) {
      // The names in it are the pod's.
      std::string message = ask.error().ToString();
      std::ranges::replace_if(
          message, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
      diagnostics->Add(At(file, line), std::move(message));
      return {};
    }
    if (CardsIn(*ask) > CardsIn(out)) out = *std::move(ask);
  }
  return out;
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

std::string CardsOfPod(const JsonValue* annotations) {
  std::string out;
  if (annotations == nullptr) return out;
  const auto add = [&](std::string_view id) {
    if (id.empty() || id.find(';') != std::string_view::npos) return;
    if (!out.empty()) out += ';';
    out += id;
  };
  for (const JsonValue& note : annotations->items) {
    const bool hami =
        note.key == "hami.io/kunlun-allocated" ||
        (note.key.starts_with("hami.io/") && note.key.ends_with("-devices-allocated"));
    if (!hami && note.key != "volcano.sh/vgpu-ids-new") continue;
    for (const std::string_view container : SplitAt(note.text, ';')) {
      for (const std::string_view device : SplitAt(container, ':')) {
        add(device.substr(0, device.find(',')));
      }
    }
    if (!out.empty()) return out;
  }
  for (const std::string_view index :
       SplitAt(annotations->TextAt({"alibabacloud.com/gpu-index"}), '-')) {
    add(index);
  }
  return out;
}

}  // namespace basalt::trace
