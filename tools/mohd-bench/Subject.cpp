// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The timing loop.
#include "Subject.h"

#include <algorithm>
#include <chrono>
#include <csignal>

namespace mohdbench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kMachineSamples = 9;
constexpr int64_t kFewest = 3; // repetitions, however long they take
constexpr double kShort =
    0.05; // s; a run of less is repeated untimed after the machine was sampled

volatile std::sig_atomic_t stop = 0;

double timeRun(Subject &subject) {
  Clock::time_point start = Clock::now();
  subject.run();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

} // namespace

Subject::~Subject() = default;

void watchInterrupts() {
  struct sigaction action = {};
  action.sa_handler = [](int) { stop = 1; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  ::sigaction(SIGINT, &action, nullptr);
}

bool interrupted() { return stop != 0; }

Measured measure(const std::vector<Subject *> &subjects, Machine &machine, uint32_t threads,
                 const MeasureOptions &options) {
  Measured measured;
  measured.warmup = options.warmup;
  measured.seconds.resize(subjects.size());
  double last = 0; // seconds of one round
  for (Subject *subject : subjects)
    for (int64_t i = 0; i < options.warmup * static_cast<int64_t>(subject->numCopies()); ++i)
      last = timeRun(*subject);
  int64_t every = std::max<int64_t>(1, options.repetitions / kMachineSamples);
  Clock::time_point end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                             std::chrono::duration<double>(options.maxSeconds));
  for (int64_t i = 0; i < options.repetitions; ++i) {
    if (interrupted() || (i >= kFewest && Clock::now() > end))
      break;
    bool samplesMachine = i % every == 0;
    if (samplesMachine) {
      measured.peak.push_back(machine.samplePeak(threads));
      measured.bandwidth.push_back(machine.sampleBandwidth(threads));
    }
    for (size_t j = 0; j < subjects.size(); ++j) {
      if (samplesMachine && last < kShort)
        subjects[j]->run(); // threads and activations as they are in a row of calls
      last = timeRun(*subjects[j]);
      measured.seconds[j].push_back(last);
    }
  }
  return measured;
}

} // namespace mohdbench
