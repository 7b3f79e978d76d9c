/* Counts the frames of a capture that pass a filter, with libpcap: filter FILE [EXPRESSION]; prints nanoseconds a frame. */
#include <pcap/pcap.h>
#include <stdio.h>
#include <time.h>

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec + now.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
	char error[PCAP_ERRBUF_SIZE];
	if (argc < 2)
		return 2;
	double from = seconds();
	pcap_t *capture = pcap_open_offline(argv[1], error);
	if (!capture) {
		fprintf(stderr, "%s\n", error);
		return 2;
	}
	struct bpf_program program;
	if (argc > 2 && (pcap_compile(capture, &program, argv[2], 1, PCAP_NETMASK_UNKNOWN) || pcap_setfilter(capture, &program))) {
		pcap_perror(capture, "filter");
		return 2;
	}
	struct pcap_pkthdr *header;
	const u_char *bytes;
	unsigned long passed = 0;
	while (pcap_next_ex(capture, &header, &bytes) == 1)
		passed++;
	double all = (seconds() - from) * 1e9;
	pcap_close(capture);
	/* What the filter drops is read too: the number of all frames is the file's. */
	FILE *file = fopen(argv[1], "rb");
	unsigned long frames = 0;
	unsigned int record[4];
	fseek(file, 24, SEEK_SET);
	while (fread(record, sizeof record, 1, file) == 1) {
		frames++;
		fseek(file, record[2], SEEK_CUR);
	}
	fprintf(stderr, "%lu of %lu frames\n", passed, frames);
	printf("%.2f\n", all / frames);
	return 0;
}
