#include "cli/platform_convert.h"

#include <algorithm>
#include <array>
#include <map>

#include "sim/demand.h"

namespace basalt::cli {
namespace {

constexpr std::int64_t kMaxHorizonUs = 3 * 365 * sim::kDayUs;
constexpr std::int64_t kMaxCards = 1'000'000;

class Converter {
 public:
  Converter(const config::Document& document, const PlatformEntry& entry, config::Errors* errors)
      : document_(document), root_(document.root), entry_(entry), errors_(errors) {}

  sim::PlatformSpec Run(const Registry& registry) {
    Times();
    Clusters();
    Names();
    Workloads();
    if (!ApplyLoad(entry_.load, &spec_)) {
      Wrong(root_["load"], "load.inference needs services and training");
    }
    Rules(registry);
    return std::move(spec_);
  }

 private:
  using Kind = Reference::Kind;

  void Wrong(const YAML::Node& at, std::string message) {
    errors_->Add(document_.file, at.IsDefined() ? at : root_, std::move(message));
  }

  void Times() {
    spec_.horizon_us = entry_.horizon_us;
    spec_.warmup_us = entry_.warmup_us;
    spec_.seed = static_cast<std::uint64_t>(entry_.seed);
    spec_.demand_step_us = entry_.demand_step_us;
    spec_.series_step_us = entry_.series_step_us;
    if (entry_.horizon_us <= 0 || entry_.horizon_us > kMaxHorizonUs) {
      Wrong(root_["horizon"], "horizon must be above 0 and at most 1095d");
    }
    if (entry_.warmup_us >= entry_.horizon_us) {
      Wrong(root_["warmup"], "the warm-up must end before the horizon");
    }
    if (entry_.demand_step_us != 15 * sim::kMinuteUs && entry_.demand_step_us != sim::kHourUs) {
      Wrong(root_["demand_step"], "demand_step is 15m or 1h");
    }
    if (entry_.series_step_us <= 0 ||
        entry_.horizon_us / std::max<std::int64_t>(1, entry_.series_step_us) > 20'000) {
      Wrong(root_["series_step"], "series_step gives more than 20,000 points, or none");
    }
  }

  void Clusters() {
    std::int64_t cards = 0;
    for (std::size_t c = 0; c < entry_.clusters.size(); ++c) {
      const ClusterEntry& from = entry_.clusters[c];
      const YAML::Node at = root_["clusters"][c];
      sim::ClusterSpec to;
      to.name = from.name;
      to.region = from.region;
      to.is_private = from.is_private;
      to.start_delay_us = from.start_delay_us;
      to.queues = WithModels(from.queues);
      if (!clusters_.emplace(from.name, c).second) {
        Wrong(at["name"], fmt::format("cluster \"{}\" stands twice", from.name));
      }
      for (std::size_t g = 0; g < from.groups.size(); ++g) {
        sim::NodeGroupSpec group = from.groups[g];
        const YAML::Node group_at = at["groups"][g];
        cards += static_cast<std::int64_t>(group.count) * group.cards;
        Model(group_at, &group);
        for (const sim::NodeGroupSpec& other : to.groups) {
          if (other.name == group.name) {
            Wrong(group_at["name"], fmt::format("group \"{}\" stands twice", group.name));
          }
        }
        to.groups.push_back(std::move(group));
      }
      spec_.clusters.push_back(std::move(to));
    }
    if (entry_.clusters.empty()) Wrong(root_["clusters"], "name at least one cluster");
    if (cards > kMaxCards) {
      Wrong(root_["clusters"], fmt::format("{} cards; at most {}", cards, kMaxCards));
    }
  }

  // Memory and rules of the catalog, where it knows the model.
  void Model(const YAML::Node& at, sim::NodeGroupSpec* group) {
    const devices::CardModel* model = devices::FindModel(catalog_, group->model);
    if (model == nullptr) {
      if (group->card_memory_mib == 0) {
        Wrong(at["model"],
              fmt::format("\"{}\" is not in the device catalog: name card_memory", group->model));
      }
      if (group->mode == CardMode::kMig) {
        Wrong(at["mode"], fmt::format("the catalog has no partitions of \"{}\"", group->model));
      }
      return;
    }
    group->model = model->name;
    if (group->card_memory_mib == 0) group->card_memory_mib = model->memory_mib;
    if (group->mode == CardMode::kMig && model->rules.mig_slots == 0) {
      Wrong(at["mode"], fmt::format("{} has no MIG", group->model));
    }
    for (const CardRules& known : spec_.card_rules) {
      if (known.model == model->rules.model) return;
    }
    spec_.card_rules.push_back(model->rules);
  }

  void Refer(const Entry& entry) {
    for (const Reference& r : entry.references) {
      const auto& known = r.kind == Kind::kCluster  ? cluster_names_
                          : r.kind == Kind::kTenant ? tenant_names_
                          : r.kind == Kind::kSku    ? sku_names_
                                                    : queue_names_;
      if (std::find(known.begin(), known.end(), r.name) != known.end()) continue;
      static constexpr std::array<const char*, 4> kWords{"cluster", "tenant", "sku", "queue"};
      const char* word = kWords[static_cast<std::size_t>(r.kind)];
      Wrong(r.at, known.empty()
                      ? fmt::format("there are no {}s in the file, so no \"{}\"", word, r.name)
                      : fmt::format("unknown {} {}", word, SuggestText(r.name, known)));
    }
  }

  template <class List>
  std::vector<std::string> NamesOf(const List& list, const char* key) {
    std::vector<std::string> names;
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (std::find(names.begin(), names.end(), list[i].name) != names.end()) {
        Wrong(root_[key][i]["name"], fmt::format("\"{}\" stands twice", list[i].name));
      }
      names.push_back(list[i].name);
    }
    return names;
  }

  // Slots name models as the nodes have them, also where the file has an alias.
  std::vector<QueueSpec> WithModels(std::vector<QueueSpec> queues) const {
    for (QueueSpec& queue : queues) {
      for (SlotQuota& slots : queue.slots) {
        const devices::CardModel* model = devices::FindModel(catalog_, slots.model);
        if (model != nullptr) slots.model = model->name;
      }
    }
    return queues;
  }

  void Leaves(const std::vector<QueueSpec>& queues) {
    for (const QueueSpec& queue : queues) {
      const bool inner = std::any_of(queues.begin(), queues.end(), [&](const QueueSpec& other) {
        return other.parent == queue.name;
      });
      if (!inner) queue_names_.push_back(queue.name);
    }
  }

  void Queues() {
    std::vector<const sim::ClusterSpec*> shared;
    for (std::size_t c = 0; c < spec_.clusters.size(); ++c) {
      const sim::ClusterSpec& cluster = spec_.clusters[c];
      if (cluster.queues.empty()) {
        shared.push_back(&cluster);
      } else {
        CheckQueues({document_.file,
                     root_["clusters"][c]["queues"],
                     cluster.queues,
                     {&cluster},
                     spec_,
                     catalog_},
                    errors_);
      }
    }
    if (spec_.queues.empty()) return;
    CheckQueues({document_.file, root_["queues"], spec_.queues, shared, spec_, catalog_}, errors_);
  }

  void Names() {
    for (const ClusterEntry& cluster : entry_.clusters) cluster_names_.push_back(cluster.name);
    tenant_names_ = NamesOf(entry_.tenants, "tenants");
    sku_names_ = NamesOf(entry_.skus, "skus");
    spec_.queues = WithModels(entry_.queues);
    Leaves(entry_.queues);
    for (const ClusterEntry& cluster : entry_.clusters) Leaves(cluster.queues);
    for (const TenantEntry& tenant : entry_.tenants) {
      Refer(tenant);
      spec_.tenants.push_back(tenant);
    }
    for (std::size_t i = 0; i < entry_.skus.size(); ++i) {
      const SkuEntry& from = entry_.skus[i];
      sim::SkuSpec sku;
      sku.name = from.name;
      sku.price_hour = from.price_hour;
      sku.request = Request(from, root_["skus"][i]);
      spec_.skus.push_back(std::move(sku));
    }
    Queues();
  }

  RequestSpec Request(const RequestSpec& from, const YAML::Node& at) {
    RequestSpec request = from;
    if (request.gpus > 0 && request.gpu_milli == 0 && request.compute_units == 0) {
      request.gpu_milli = kWholeCard;
    }
    if (Status ok = ValidateRequest(request, "request"); !ok) Wrong(at, ok.error().message);
    return request;
  }

  template <class EntryType>
  void FillWorkload(const EntryType& from, const YAML::Node& at, sim::WorkloadSpec* to) {
    Refer(from);
    for (std::size_t i = 0; i < from.offer_entries.size(); ++i) {
      const OfferEntry& entry = from.offer_entries[i];
      Refer(entry);
      sim::OfferSpec offer;
      offer.sku = entry.sku;
      offer.start_us = entry.start_us;
      offer.after_us = entry.after_us;
      if (entry.sku.empty()) offer.request = Request(entry, at["offers"][i]);
      to->offers.push_back(std::move(offer));
    }
    if (from.offer_entries.empty()) Wrong(at["offers"], "name at least one offer");
    for (const PlaceEntry& place : from.place_entries) {
      Refer(place);
      to->places.push_back(place);
    }
    if (from.retry_us <= 0) Wrong(at["retry"], "retry must be above 0");
    for (const TenantEntry& tenant : entry_.tenants) {
      if (tenant.name != from.tenant || tenant.skus.empty()) continue;
      for (std::size_t i = 0; i < from.offer_entries.size(); ++i) {
        const std::string& sku = from.offer_entries[i].sku;
        if (sku.empty() ||
            std::find(tenant.skus.begin(), tenant.skus.end(), sku) != tenant.skus.end()) {
          continue;
        }
        Wrong(at["offers"][i],
              fmt::format("tenant \"{}\" may not use sku \"{}\"", tenant.name, sku));
      }
    }
    if (!workloads_.insert({from.name, true}).second) {
      Wrong(at["name"], fmt::format("workload \"{}\" stands twice", from.name));
    }
  }

  void Services(const ServiceEntry& from, const YAML::Node& at) {
    sim::ServiceSpec base = from;
    FillWorkload(from, at, &base);
    if (from.replicas_min > from.replicas_max) {
      Wrong(at["replicas_min"], "replicas_min is above replicas_max");
    }
    std::vector<sim::DemandCurve> curves;
    const YAML::Node demand_at = at["demand"];
    if (demand_at.IsDefined()) curves = Curves(from, demand_at);
    const std::int64_t day_steps = sim::kDayUs / std::max<std::int64_t>(entry_.demand_step_us, 1);
    const std::int64_t days = (entry_.horizon_us + sim::kDayUs - 1) / sim::kDayUs;
    for (std::int64_t i = 0; i < from.count; ++i) {
      sim::ServiceSpec service = base;
      if (from.count > 1) service.name = fmt::format("{}-{}", from.name, i + 1);
      if (!curves.empty()) {
        const PodUid stream = PodUidFromName("demand/" + service.name);
        sim::DemandSampler sampler(curves[static_cast<std::size_t>(i)], spec_.seed, stream.lo);
        const std::int64_t steps = day_steps * std::clamp<std::int64_t>(days, 1, 1100);
        for (std::int64_t s = 0; s < steps; ++s) service.demand_milli.push_back(sampler.Next());
      }
      spec_.services.push_back(std::move(service));
    }
  }

  std::vector<sim::DemandCurve> Curves(const ServiceEntry& from, const YAML::Node& at) {
    const DemandEntry& demand = from.demand;
    sim::DemandSetOptions options;
    options.services = from.count;
    options.seed = spec_.seed;
    const std::int32_t slots = entry_.demand_step_us == sim::kHourUs ? 24 : 96;
    for (std::size_t i = 0; i < demand.shapes.size(); ++i) {
      auto curve = sim::ShapeByName(demand.shapes[i], slots);
      if (!curve) {
        Wrong(at["shapes"][i], curve.error().message);
        continue;
      }
      curve->noise_sd = static_cast<std::int32_t>(demand.noise_milli);
      curve->noise_rho = static_cast<std::int32_t>(demand.smooth_milli);
      for (const std::size_t day : {5U, 6U}) {
        if (demand.weekend_milli < 0) break;
        curve->week[day] = static_cast<std::int32_t>(demand.weekend_milli);
      }
      const auto shift =
          static_cast<std::int32_t>(demand.shift_us % sim::kDayUs * 1000 / sim::kDayUs);
      options.shapes.push_back(sim::Shift(*curve, shift));
    }
    const auto phasing = sim::ParsePhasing(demand.phasing);
    if (!phasing) Wrong(at["phasing"], phasing.error().message);
    if (options.shapes.empty() && demand.shapes.empty()) {
      Wrong(at["shapes"], "name at least one shape");
    }
    if (options.shapes.empty() || !phasing) return {};
    options.phasing = *phasing;
    return sim::MakeDemandSet(options);
  }

  void Workloads() {
    const auto fill = [this](const auto& list, const char* key, auto* out) {
      for (std::size_t i = 0; i < list.size(); ++i) {
        typename std::remove_reference_t<decltype(*out)>::value_type to = list[i];
        FillWorkload(list[i], root_[key][i], &to);
        out->push_back(std::move(to));
      }
    };
    for (std::size_t i = 0; i < entry_.services.size(); ++i) {
      Services(entry_.services[i], root_["services"][i]);
    }
    fill(entry_.sandboxes, "sandboxes", &spec_.sandboxes);
    fill(entry_.training, "training", &spec_.training);
    fill(entry_.vms, "vms", &spec_.vms);
    for (std::size_t i = 0; i < entry_.training.size(); ++i) {
      if (entry_.training[i].steps_min > entry_.training[i].steps_max) {
        Wrong(root_["training"][i]["steps_min"], "steps_min is above steps_max");
      }
    }
  }

  void CheckGroup(const std::string& cluster, const std::string& group, const YAML::Node& at) {
    const auto found = clusters_.find(cluster);
    if (found == clusters_.end()) return;  // told already
    std::vector<std::string> names;
    for (const sim::NodeGroupSpec& g : spec_.clusters[found->second].groups) {
      if (g.name == group) return;
      names.push_back(g.name);
    }
    Wrong(at, fmt::format("cluster \"{}\" has no group {}", cluster, SuggestText(group, names)));
  }

  void Rules(const Registry& registry) {
    for (std::size_t i = 0; i < entry_.maintenance.size(); ++i) {
      const MaintenanceEntry& m = entry_.maintenance[i];
      Refer(m);
      CheckGroup(m.cluster, m.group, root_["maintenance"][i]["group"]);
      spec_.maintenance.push_back(m);
    }
    spec_.runtime = entry_.runtime;
    spec_.reclaim = entry_.reclaim;
    spec_.pools = entry_.pools;
    if (entry_.pools.min_shared_milli + entry_.pools.min_passthrough_milli > kWholeCard) {
      Wrong(
          root_["pools"]["min_shared"],
          fmt::format("min_shared and min_passthrough are {}% of the cards together: lower one, "
                      "so that both are at most 100%",
                      (entry_.pools.min_shared_milli + entry_.pools.min_passthrough_milli) / 10.0));
    }
    Refer(entry_.pools);
    for (std::size_t i = 0; i < entry_.pools.groups.size(); ++i) {
      const auto& [cluster, group] = entry_.pools.groups[i];
      CheckGroup(cluster, group, root_["pools"]["groups"][i]);
    }
    const SchedulingEntry& from = entry_.scheduling;
    spec_.scheduling = from;
    SchedulerOptions& options = spec_.scheduling.options;
    options.order = from.order;
    options.backfill = from.backfill;
    options.depth = from.depth;
    options.starvation_us = from.starvation_us;
    options.division = {from.share, from.usage_factor_milli};
    const YAML::Node at = root_["scheduling"];
    if (from.usage_factor_milli > 0 && from.usage_half_life_us == 0) {
      Wrong(at["usage_factor"], "usage_factor needs a usage_half_life: over how long use counts");
    } else if (from.usage_half_life_us > 0 && from.usage_factor_milli == 0) {
      Wrong(at["usage_half_life"], "usage_half_life does nothing without a usage_factor");
    } else if (from.usage_factor_milli > 0 && from.share == ShareRule::kDominant) {
      Wrong(at["usage_factor"], "past use does not enter dominant shares: share per-resource");
    }
    options.evict = from.evict;
    options.eviction.preempt = from.preempt;
    options.eviction.preempt_across_queues = from.across_queues;
    options.eviction.reclaim = from.reclaim;
    options.eviction.break_budgets = from.break_budgets;
    if (const auto policy = registry.Configure(from.policy); !policy) {
      const YAML::Node scheduling = root_["scheduling"];
      Wrong(scheduling.IsDefined() ? scheduling["policy"] : scheduling, policy.error().ToString());
    }
  }

  const config::Document& document_;
  const YAML::Node root_;
  const PlatformEntry& entry_;
  config::Errors* errors_;
  const devices::Catalog catalog_ = devices::EmbeddedCatalog();
  sim::PlatformSpec spec_;
  std::map<std::string, std::size_t> clusters_;
  std::map<std::string, bool> workloads_;
  std::vector<std::string> cluster_names_, tenant_names_, sku_names_, queue_names_;
};

}  // namespace

sim::PlatformSpec ToSpec(const config::Document& document, const PlatformEntry& entry,
                         const Registry& registry, config::Errors* errors) {
  return Converter(document, entry, errors).Run(registry);
}

}  // namespace basalt::cli
