package capture

const directFlag = 0x4000 // O_DIRECT
