// Fibers: a switch between stacks. ucontext would make two system calls per switch.
#include "machine.h"

#if defined(__x86_64__)
asm(R"(
.text
.p2align 4
.globl emu_switch
.hidden emu_switch
.type emu_switch, @function
emu_switch:
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
.size emu_switch, . - emu_switch
)");
#elif defined(__aarch64__)
asm(R"(
.text
.p2align 4
.globl emu_switch
.hidden emu_switch
.type emu_switch, @function
emu_switch:
    sub sp, sp, #160
    stp x19, x20, [sp]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x2, sp
    str x2, [x0]
    mov sp, x1
    ldp x19, x20, [sp]
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
.size emu_switch, . - emu_switch
)");
#else
#error "fibers are written for x86-64 and aarch64"
#endif

namespace emu {

// A stack that the first switch to it leaves through fiber_main.
void* prepare_stack(uint8_t* top) {
    auto* words = reinterpret_cast<void**>(top);
#if defined(__x86_64__)
    words -=
        8;  // six registers, the return address, and a word so that the stack is aligned behind it
    memset(words, 0, 8 * sizeof *words);
    words[6] = reinterpret_cast<void*>(&fiber_main);
#else
    words -= 20;
    memset(words, 0, 20 * sizeof *words);
    words[11] = reinterpret_cast<void*>(&fiber_main);  // x30
#endif
    return words;
}

}  // namespace emu
