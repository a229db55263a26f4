// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
// The context switch, for x86-64 and AArch64: what a called function must keep is pushed on the
// stack that is left. Sanitizers are told of each switch.
#include "fiber.h"

#include <new>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MOHD_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define MOHD_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define MOHD_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define MOHD_TSAN 1
#endif
#ifdef MOHD_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef MOHD_TSAN
#include <sanitizer/tsan_interface.h>
#endif

extern "C" void mohd_emu_switch(void **save, void *load);

#if defined(__x86_64__)
asm(R"(
.text
.globl mohd_emu_switch
.hidden mohd_emu_switch
.type mohd_emu_switch,@function
mohd_emu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size mohd_emu_switch,.-mohd_emu_switch
)");
#elif defined(__aarch64__)
asm(R"(
.text
.globl mohd_emu_switch
.hidden mohd_emu_switch
.type mohd_emu_switch,@function
mohd_emu_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size mohd_emu_switch,.-mohd_emu_switch
)");
#else
#error "the emulator has a context switch for x86-64 and AArch64 only"
#endif

namespace mohdemu {

namespace {

constexpr size_t kStackBytes = 256 * 1024; // reserved; what is not touched costs nothing

size_t pageBytes() { return static_cast<size_t>(::sysconf(_SC_PAGESIZE)); }

/// The frame that the switch pops the first time, below `top`, which is a multiple of 16.
void *firstFrame(char *top, void (*entry)()) {
#if defined(__x86_64__)
  void **slot = reinterpret_cast<void **>(top);
  *--slot = nullptr; // where the entry's return address would be
  *--slot = reinterpret_cast<void *>(entry);
  for (int i = 0; i < 6; ++i)
    *--slot = nullptr;
  return slot;
#else
  void **frame = reinterpret_cast<void **>(top - 160);
  for (int i = 0; i < 20; ++i)
    frame[i] = nullptr;
  frame[11] = reinterpret_cast<void *>(entry); // x30
  return frame;
#endif
}

} // namespace

void adoptThread(Fiber &fiber) {
#ifdef MOHD_ASAN
  pthread_attr_t attributes;
  if (::pthread_getattr_np(::pthread_self(), &attributes) == 0) {
    ::pthread_attr_getstack(&attributes, &fiber.stackBottom, &fiber.stackBytes);
    ::pthread_attr_destroy(&attributes);
  }
#endif
#ifdef MOHD_TSAN
  fiber.sanitizer = __tsan_get_current_fiber();
#endif
  (void)fiber;
}

void switchFiber(Fiber &from, Fiber &to, bool ends) {
#ifdef MOHD_ASAN
  __sanitizer_start_switch_fiber(ends ? nullptr : &from.fakeStack, to.stackBottom, to.stackBytes);
#endif
#ifdef MOHD_TSAN
  __tsan_switch_to_fiber(to.sanitizer, 0);
#endif
  (void)ends;
  mohd_emu_switch(&from.stackPointer, to.stackPointer);
#ifdef MOHD_ASAN
  __sanitizer_finish_switch_fiber(from.fakeStack, nullptr, nullptr);
#endif
}

void fiberStarted() {
#ifdef MOHD_ASAN
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

FiberStacks::FiberStacks(size_t count) : fibers_(count) {
  const size_t guard = pageBytes();
  bytes_ = count * (kStackBytes + guard);
  void *memory = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED)
    throw std::bad_alloc();
  memory_ = static_cast<char *>(memory);
  for (size_t i = 0; i < count; ++i) {
    char *below = memory_ + i * (kStackBytes + guard);
    ::mprotect(below, guard, PROT_NONE); // may fail with very many stacks: then without a guard
    fibers_[i].stackBottom = below + guard;
    fibers_[i].stackBytes = kStackBytes;
#ifdef MOHD_TSAN
    fibers_[i].sanitizer = __tsan_create_fiber(0);
#endif
  }
}

FiberStacks::~FiberStacks() {
#ifdef MOHD_TSAN
  for (Fiber &fiber : fibers_)
    __tsan_destroy_fiber(fiber.sanitizer);
#endif
  ::munmap(memory_, bytes_);
}

void FiberStacks::prepare(size_t index, void (*entry)()) {
  Fiber &fiber = fibers_[index];
#ifdef MOHD_ASAN
  // The block before may have left frames on it.
  if (fiber.stackPointer) {
    char *end = static_cast<char *>(fiber.stackBottom) + fiber.stackBytes;
    __asan_unpoison_memory_region(
        fiber.stackPointer, static_cast<size_t>(end - static_cast<char *>(fiber.stackPointer)));
  }
  fiber.fakeStack = nullptr;
#endif
  // Tops at different places of a page, or the stacks of a block would share few lines of the cache.
  char *top = static_cast<char *>(fiber.stackBottom) + kStackBytes - 64 - index * 320 % 8192;
  fiber.stackPointer = firstFrame(top, entry);
}

} // namespace mohdemu
