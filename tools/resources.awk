# Reads `cuobjdump -res-usage` and then `cuobjdump -sass` of one cubin; prints a line for each entry point: registers,
# static shared memory, and the instructions of its main loop by kind. The main loop is the shortest loop with
# matrix instructions; a kernel without any has the whole function counted. Set `file`.

# cuobjdump -res-usage
$1 == "Function" && $2 ~ /.:$/ { name = substr($2, 1, length($2) - 1); next }
/ REG:/ {
    for (i = 1; i <= NF; i++) {
        split($i, part, ":")
        if (part[1] == "REG") registers[name] = part[2]
        if (part[1] == "SHARED") shared[name] = part[2]
        if (part[1] == "STACK" || part[1] == "LOCAL") memory[name] += part[2]
    }
    next
}

# cuobjdump -sass
/Function : / { if (count) finish(); name = $3; count = 0; next }
match($0, /\/\*[0-9a-f]+\*\/ +[^;]*;/) {
    split(substr($0, RSTART, RLENGTH), side, "[*]/")
    address = substr(side[1], 3)
    text = side[2]
    sub(/^ */, "", text)
    sub(/^@!?U?P[0-9T]+ */, "", text)
    split(text, word, /[ ;]+/)
    where[++count] = number(address)
    op[count] = word[1]
    target[count] = word[1] ~ /^BRA/ && match(text, /0x[0-9a-f]+/) ? number(substr(text, RSTART + 2, RLENGTH - 2)) : -1
}
END { if (count) finish() }

function number(hex,    i, value) {
    for (i = 1; i <= length(hex); i++) value = value * 16 + index("0123456789abcdef", substr(hex, i, 1)) - 1
    return value
}

function kind(op) {
    sub(/\..*/, "", op)
    if (op ~ /^[HQIDB]GMMA$/) return "gmma"
    if (op ~ /^UTMA|^UBLKCP|^UBLKRED/) return "tma"
    if (op ~ /^MUFU$/) return "mufu"
    if (op ~ /^[FD](FMA|ADD|MUL|MNMX|SEL|SET|SETP|SWZADD|CHK)|^H(FMA|ADD|MUL|MNMX)2/) return "float"
    if (op ~ /^(F2F|F2FP|F2I|I2F|I2FP|FRND|F2IP|I2I)$/) return "convert"
    if (op ~ /^(LDS|STS|LDSM|STSM|ATOMS)$/) return "shared"
    if (op ~ /^(LDG|STG|RED|REDG|ATOM|ATOMG|LDGSTS|LD|ST|LDC|CCTL)$/) return "global"
    if (op ~ /^(SYNCS|BAR|WARPSYNC|WARPGROUP|DEPBAR|MEMBAR|FENCE|UCGABAR|ERRBAR|ELECT|VOTE|SHFL|USETMAXREG|BSYNC|BSSY|NANOSLEEP)/) return "sync"
    if (op ~ /^(BRA|BRX|EXIT|CALL|RET|JMP|BREAK|YIELD|UBRA|NOP)/) return "branch"
    if (op ~ /^U|^R2UR$|^S2UR$/) return "uniform"
    return "integer"
}

function finish(    i, j, matrix, best, from, to, start, n, line) {
    # Padding behind the end.
    while (count > 1 && op[count] == "NOP") count--
    best = 0; from = 1; to = count
    for (i = 1; i <= count; i++) {
        if (target[i] < 0 || target[i] > where[i]) continue
        matrix = 0
        for (j = i; j >= 1 && where[j] >= target[i]; j--) if (kind(op[j]) == "gmma") matrix++
        # What waits in the loop jumps back into it from behind the function, in more instructions than the loop has.
        if (matrix > 0 && (best == 0 || i - j < to - from + 1)) { best = matrix; from = j + 1; to = i }
    }
    n = split("gmma tma mufu float convert integer uniform shared global sync branch", kinds, " ")
    for (i = 1; i <= n; i++) total[kinds[i]] = 0
    for (i = from; i <= to; i++) total[kind(op[i])]++
    line = sprintf("%-21s %-28s %4d %7d %6d %5s %6d", file, name, registers[name], shared[name], memory[name], best ? "loop" : "whole", to - from + 1)
    for (i = 1; i <= n; i++) line = line sprintf(" %7d", total[kinds[i]])
    print line
}
