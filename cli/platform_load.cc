// `load` of a platform scenario: all demand of a kind times a number, and the share of inference.
// And how much demand comes in all, so that a run without end is refused before it begins.
#include <algorithm>
#include <cmath>

#include "cli/platform_convert.h"

namespace basalt::cli {
namespace {

// Compute that a pod uses on all its cards, in cards.
double CardsOf(const sim::PlatformSpec& spec, const sim::WorkloadSpec& work) {
  if (work.offers.empty()) return 0;
  RequestSpec request = work.offers[0].request;
  for (const sim::SkuSpec& sku : spec.skus) {
    if (sku.name == work.offers[0].sku) request = sku.request;
  }
  const std::int32_t use = work.use_milli > 0 ? work.use_milli : request.gpu_milli;
  return use * request.gpus / 1000.0;
}

double CardsWanted(const sim::PlatformSpec& spec, const sim::ServiceSpec& service) {
  double mean = 1000;
  if (!service.demand_milli.empty()) {
    double sum = 0;
    for (const std::int32_t level : service.demand_milli) sum += level;
    mean = sum / static_cast<double>(service.demand_milli.size());
  }
  return mean / 1000 * service.replicas_max * CardsOf(spec, service);
}

double CardsWanted(const sim::PlatformSpec& spec, const sim::TrainingSpec& training) {
  double weights = 0, pods = 0;
  for (const auto& [size, weight] : training.gang_sizes) {
    weights += weight;
    pods += weight * size;
  }
  const double steps = (training.steps_min + training.steps_max) / 2.0;
  const double hours =
      static_cast<double>(training.duration.mean_us) / static_cast<double>(sim::kHourUs);
  return training.jobs_per_hour * steps * pods / std::max(weights, 1e-9) * hours *
         CardsOf(spec, training);
}

std::int32_t Times(std::int32_t count, double factor) {
  return static_cast<std::int32_t>(std::lround(count * factor));
}

double MeanUs(const sim::DurationSpec& d) {
  return std::max(1.0, static_cast<double>(std::clamp(d.mean_us, d.min_us, d.max_us)));
}

}  // namespace

void Expect(const config::Document& document, const sim::PlatformSpec& spec,
            ExpectedArrivals* out) {
  const auto horizon = static_cast<double>(spec.horizon_us);
  const double hours = horizon / static_cast<double>(sim::kHourUs);
  const auto add = [&](const char* section, std::size_t i, const std::string& name, double count) {
    out->all += count;
    if (count <= out->most) return;
    out->most = count;
    out->at.reset(document.root[section][i]["name"]);
    out->name = name;
  };
  for (std::size_t i = 0; i < spec.training.size(); ++i) {
    const sim::TrainingSpec& t = spec.training[i];
    add("training", i, t.name, t.jobs_per_hour * hours * (t.steps_min + t.steps_max) / 2);
  }
  for (std::size_t i = 0; i < spec.vms.size(); ++i) {
    const sim::VmSpec& v = spec.vms[i];
    const double bursts = std::min(MeanUs(v.hold), horizon) * v.used_milli / 1000 / MeanUs(v.burst);
    add("vms", i, v.name, (v.at_start + v.vms_per_hour * hours) * (1 + bursts));
  }
  for (std::size_t i = 0; i < spec.sandboxes.size(); ++i) {
    const sim::SandboxSpec& s = spec.sandboxes[i];
    const double days = std::ceil(hours / 24) * s.working_days / 7 * s.come_milli / 1000;
    const double bursts = MeanUs(s.session) / (MeanUs(s.burst) + MeanUs(s.think));
    add("sandboxes", i, s.name, s.users * days * (1 + bursts));
  }
}

bool ApplyLoad(const LoadEntry& load, sim::PlatformSpec* spec) {
  double services = load.services, training = load.training;
  if (load.inference_milli >= 0) {
    double of_services = 0, of_training = 0;
    for (const sim::ServiceSpec& s : spec->services)
      of_services += CardsWanted(*spec, s) * services;
    for (const sim::TrainingSpec& t : spec->training)
      of_training += CardsWanted(*spec, t) * training;
    if (of_services <= 0 || of_training <= 0) return false;
    const double all = of_services + of_training;
    const double part = static_cast<double>(load.inference_milli) / 1000;
    services *= part * all / of_services;
    training *= (1 - part) * all / of_training;
  }
  for (sim::ServiceSpec& s : spec->services) {
    if (services <= 0) s.to_us = s.from_us;  // exists, so that reports have its row
    s.replicas_max = std::max(1, Times(s.replicas_max, services));
    s.replicas_min = std::min(Times(s.replicas_min, services), s.replicas_max);
  }
  for (sim::TrainingSpec& t : spec->training) t.jobs_per_hour *= training;
  for (sim::SandboxSpec& s : spec->sandboxes) s.users = Times(s.users, load.sandboxes);
  for (sim::VmSpec& v : spec->vms) {
    v.vms_per_hour *= load.vms;
    v.at_start = Times(v.at_start, load.vms);
  }
  return true;
}

}  // namespace basalt::cli
