#include "sim/platform/world.h"
namespace basalt::sim::platform {
void World::SetUpPools() {}
void World::DecidePools() {}
void World::CardEmptied(Index) {}
void World::CardDrained(Index) {}
}  // namespace basalt::sim::platform
