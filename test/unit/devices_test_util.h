// The catalog and short ways to write pods, for the tests of devices.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "devices/assignment.h"
#include "devices/catalog.h"
#include "devices/resources.h"

namespace basalt::devices {

inline const Catalog& Cards() {
  static const Catalog catalog = EmbeddedCatalog();
  return catalog;
}

inline PodContainer Limits(std::string name, Amounts limits) {
  return {.name = std::move(name), .limits = std::move(limits)};
}
inline PodResources Pod(std::vector<PodContainer> containers,
                        std::map<std::string, std::string> annotations = {}) {
  return {.name = "pod",
          .containers = std::move(containers),
          .annotations = std::move(annotations),
          .node_selector = {}};
}
// A pod of one container.
inline PodResources One(Amounts limits, std::map<std::string, std::string> annotations = {}) {
  return Pod({Limits("c0", std::move(limits))}, std::move(annotations));
}

inline PodRequest MustRead(const PodResources& pod) {
  auto request = ReadRequest(Cards(), pod);
  EXPECT_TRUE(request.has_value()) << request.error().ToString();
  return request ? *request : PodRequest();
}
inline std::string WhyNot(const PodResources& pod) {
  const auto request = ReadRequest(Cards(), pod);
  EXPECT_FALSE(request.has_value());
  return request ? "" : request.error().ToString();
}

inline Assignment MustAssign(const PodRequest& request, const AssignmentInput& input) {
  auto assigned = Assign(Cards(), request, input);
  EXPECT_TRUE(assigned.has_value()) << assigned.error().ToString();
  return assigned ? *assigned : Assignment();
}
inline std::map<std::string, std::string> AsMap(const Texts& texts) {
  return {texts.begin(), texts.end()};
}

}  // namespace basalt::devices
