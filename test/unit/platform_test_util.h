// Short names for what the tests of the platform simulator build.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "sim/platform/platform.h"
#include "test/support/cluster.h"

namespace basalt::sim {

inline RequestSpec Part(int milli, MiB card_memory = 0, int cards = 1) {
  RequestSpec request;
  request.gpus = cards;
  request.gpu_milli = milli;
  request.gpu_memory_mib = card_memory;
  return request;
}

inline OfferSpec Offer(const RequestSpec& request) {
  OfferSpec offer;
  offer.request = request;
  return offer;
}

inline NodeGroupSpec Nodes(const std::string& name, int count, int cards, MiB card_memory = 0) {
  NodeGroupSpec group;
  group.name = name;
  group.count = count;
  group.cards = cards;
  group.cpu_milli = 128'000;
  group.memory_mib = 1'048'576;
  group.model = "GPU";
  group.card_memory_mib = card_memory;
  return group;
}

// One cluster "c" with these nodes, one tenant "t"; nothing runs on it yet. Starting, committing
// and restarting take no time.
inline PlatformSpec Platform(const NodeGroupSpec& group, std::int64_t hours) {
  PlatformSpec spec;
  spec.name = "test";
  spec.horizon_us = hours * kHourUs;
  ClusterSpec cluster;
  cluster.name = "c";
  cluster.groups.push_back(group);
  spec.clusters.push_back(cluster);
  TenantSpec tenant;
  tenant.name = "t";
  tenant.department = "d";
  spec.tenants.push_back(tenant);
  spec.runtime.commit_us = spec.runtime.commit_us_per_gib = 0;
  spec.runtime.restart_us = spec.runtime.restart_us_per_gib = 0;
  return spec;
}

template <class Spec>
Spec Work(const std::string& name, const RequestSpec& request) {
  Spec spec;
  spec.name = name;
  spec.tenant = "t";
  spec.offers.push_back(Offer(request));
  return spec;
}

inline ServiceSpec Service(const std::string& name, const RequestSpec& request,
                           std::vector<std::int32_t> demand) {
  auto spec = Work<ServiceSpec>(name, request);
  spec.demand_milli = std::move(demand);
  return spec;
}

inline TrainingSpec Training(const std::string& name, const RequestSpec& request, double per_hour,
                             std::int64_t duration_us) {
  auto spec = Work<TrainingSpec>(name, request);
  spec.jobs_per_hour = per_hour;
  spec.duration = {DurationSpec::Kind::kConstant, duration_us};
  return spec;
}

inline PlatformResult RunOk(const PlatformSpec& spec) {
  PlatformOptions options;
  options.audit_every = 1;
  const auto result = RunPlatform(spec, support::Builtins(), options);
  EXPECT_TRUE(result.has_value()) << result.error().ToString();
  return result.has_value() ? *result : PlatformResult{};
}

inline const WorkloadResult& Of(const PlatformResult& result, const std::string& name) {
  for (const WorkloadResult& w : result.workloads) {
    if (w.name == name) return w;
  }
  ADD_FAILURE() << "no workload " << name;
  return result.workloads.front();
}

}  // namespace basalt::sim
