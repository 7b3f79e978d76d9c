/*
 * DPDK's rte_hash and rte_acl on the keys of bench/src/keys.rs: rivals EAL-OPTIONS -- KEYS ROUNDS
 * Prints "KEYS<tab>NAME<tab>nanoseconds a packet", the best of the rounds, after every answer was held against the key that was asked for.
 */
#include <rte_acl.h>
#include <rte_cpuflags.h>
#include <rte_eal.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PACKETS (1u << 20)
#define BULK 64
#define TCP 6
/* More rules take rte_acl longer to build than anyone would wait. */
#define MOST_RULES 100000

static uint64_t state;

/* splitmix64, as in keys.rs */
static uint32_t below(uint32_t limit)
{
	state += 0x9e3779b97f4a7c15u;
	uint64_t z = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return (((z ^ (z >> 31)) >> 32) * limit) >> 32;
}

static uint32_t address(uint32_t key) { return 0x0a800000u + key; }
static uint16_t port(uint32_t key) { return 80 + key % 7; }

static uint64_t packed(uint32_t key)
{
	return (uint64_t)address(key) << 24 | TCP << 16 | port(key);
}

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec * 1e-9;
}

static void *need(void *memory, const char *what)
{
	if (!memory) {
		fprintf(stderr, "no %s\n", what);
		exit(2);
	}
	return memory;
}

static void wrong(const char *name)
{
	fprintf(stderr, "%s: a wrong answer is not timed\n", name);
	exit(2);
}

static void hash(uint32_t keys, uint32_t rounds, const uint32_t *asked)
{
	struct rte_hash_parameters how = {
		.name = "keys", .entries = keys + keys / 4 + 64, .key_len = sizeof(uint64_t), .hash_func = rte_hash_crc,
	};
	struct rte_hash *table = need(rte_hash_create(&how), "rte_hash");
	for (uint32_t key = 0; key < keys; key++) {
		uint64_t this = packed(key);
		if (rte_hash_add_key_data(table, &this, (void *)(uintptr_t)(key + 1)) < 0)
			wrong("rte_hash");
	}
	uint64_t *questions = need(malloc(PACKETS * sizeof *questions), "memory");
	for (uint32_t at = 0; at < PACKETS; at++)
		questions[at] = packed(asked[at]);
	double best = 1e9;
	for (uint32_t round = 0; round < rounds + 1; round++) {
		double from = seconds();
		for (uint32_t at = 0; at < PACKETS; at += BULK) {
			const void *bulk[BULK];
			void *found[BULK];
			uint64_t hits = 0;
			for (uint32_t i = 0; i < BULK; i++)
				bulk[i] = &questions[at + i];
			int count = rte_hash_lookup_bulk_data(table, bulk, BULK, &hits, found);
			if (count != BULK)
				wrong("rte_hash");
			for (uint32_t i = 0; round == 0 && i < BULK; i++)
				if ((uintptr_t)found[i] != asked[at + i] + 1)
					wrong("rte_hash");
		}
		double each = (seconds() - from) * 1e9 / PACKETS;
		if (round > 0 && each < best)
			best = each;
	}
	printf("%u\tDPDK rte_hash, bulk of %u\t%.2f\n", keys, BULK, best);
	free(questions);
	rte_hash_free(table);
}

/* What rte_acl reads: a byte, then words in network order. */
struct question {
	uint8_t protocol;
	uint8_t pad[3];
	uint32_t destination;
	uint16_t source_port;
	uint16_t destination_port;
};

enum { PROTOCOL, DESTINATION, SOURCE_PORT, DESTINATION_PORT, FIELDS };

static const struct rte_acl_field_def fields[FIELDS] = {
	{ RTE_ACL_FIELD_TYPE_BITMASK, 1, PROTOCOL, 0, offsetof(struct question, protocol) },
	{ RTE_ACL_FIELD_TYPE_MASK, 4, DESTINATION, 1, offsetof(struct question, destination) },
	{ RTE_ACL_FIELD_TYPE_RANGE, 2, SOURCE_PORT, 2, offsetof(struct question, source_port) },
	{ RTE_ACL_FIELD_TYPE_RANGE, 2, DESTINATION_PORT, 2, offsetof(struct question, destination_port) },
};

RTE_ACL_RULE_DEF(rule, FIELDS);

static struct rte_acl_ctx *rules(uint32_t keys)
{
	struct rte_acl_param how = {
		.name = "rules", .socket_id = SOCKET_ID_ANY, .rule_size = RTE_ACL_RULE_SZ(FIELDS), .max_rule_num = keys,
	};
	struct rte_acl_ctx *context = need(rte_acl_create(&how), "rte_acl");
	for (uint32_t key = 0; key < keys; key++) {
		struct rule rule = { .data = { .category_mask = 1, .priority = 1, .userdata = key + 1 } };
		rule.field[PROTOCOL].value.u8 = TCP;
		rule.field[PROTOCOL].mask_range.u8 = 0xff;
		rule.field[DESTINATION].value.u32 = address(key);
		rule.field[DESTINATION].mask_range.u32 = 32;
		rule.field[SOURCE_PORT].mask_range.u16 = 0xffff;
		rule.field[DESTINATION_PORT].value.u16 = port(key);
		rule.field[DESTINATION_PORT].mask_range.u16 = port(key);
		if (rte_acl_add_rules(context, (struct rte_acl_rule *)&rule, 1))
			wrong("rte_acl");
	}
	struct rte_acl_config config = { .num_categories = 1, .num_fields = FIELDS };
	memcpy(config.defs, fields, sizeof fields);
	if (rte_acl_build(context, &config))
		wrong("rte_acl");
	return context;
}

/* The widest way that this processor has. */
static const char *widest(struct rte_acl_ctx *context)
{
	static const struct { enum rte_acl_classify_alg way; const char *name; } ways[] = {
		{ RTE_ACL_CLASSIFY_AVX512X32, "AVX-512" }, { RTE_ACL_CLASSIFY_AVX2, "AVX2" }, { RTE_ACL_CLASSIFY_SSE, "SSE" },
	};
	for (size_t at = 0; at < RTE_DIM(ways); at++)
		if (rte_acl_set_ctx_classify(context, ways[at].way) == 0)
			return ways[at].name;
	return "scalar";
}

static void acl(uint32_t keys, uint32_t rounds, const uint32_t *asked)
{
	struct rte_acl_ctx *context = rules(keys);
	const char *way = widest(context);
	struct question *questions = need(calloc(PACKETS, sizeof *questions), "memory");
	for (uint32_t at = 0; at < PACKETS; at++)
		questions[at] = (struct question){
			.protocol = TCP, .destination = rte_cpu_to_be_32(address(asked[at])),
			.source_port = rte_cpu_to_be_16(40000), .destination_port = rte_cpu_to_be_16(port(asked[at])),
		};
	double best = 1e9;
	for (uint32_t round = 0; round < rounds + 1; round++) {
		double from = seconds();
		for (uint32_t at = 0; at < PACKETS; at += BULK) {
			const uint8_t *bulk[BULK];
			uint32_t found[BULK];
			for (uint32_t i = 0; i < BULK; i++)
				bulk[i] = (const uint8_t *)&questions[at + i];
			rte_acl_classify(context, bulk, found, BULK, 1);
			for (uint32_t i = 0; i < BULK; i++)
				if (found[i] != asked[at + i] + 1)
					wrong("rte_acl");
		}
		double each = (seconds() - from) * 1e9 / PACKETS;
		if (round > 0 && each < best)
			best = each;
	}
	printf("%u\tDPDK rte_acl, %s, bulk of %u\t%.2f\n", keys, way, BULK, best);
	free(questions);
	rte_acl_free(context);
}

int main(int argc, char **argv)
{
	int taken = rte_eal_init(argc, argv);
	if (taken < 0 || argc - taken < 3) {
		fprintf(stderr, "rivals EAL-OPTIONS -- KEYS ROUNDS\n");
		return 2;
	}
	uint32_t keys = strtoul(argv[taken + 1], NULL, 10), rounds = strtoul(argv[taken + 2], NULL, 10);
	uint32_t *asked = need(malloc(PACKETS * sizeof *asked), "memory");
	state = 1;
	for (uint32_t at = 0; at < PACKETS; at++)
		asked[at] = below(keys);
	hash(keys, rounds, asked);
	if (keys <= MOST_RULES)
		acl(keys, rounds, asked);
	return 0;
}
