package capture

const directFlag = 0x10000 // O_DIRECT
