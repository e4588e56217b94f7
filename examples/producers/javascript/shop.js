// JavaScript: the sender needs `sqs:SendMessage` on the notification queue, and nothing else.

import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";

const sqs = new SQSClient();

/** Ask for a notification. It is accepted when SQS has taken the message. */
export async function notifyPaid(orderId, customer) {
  const notification = {
    id: `order-${orderId}:paid`,
    category: "informational",
    channel: "webhook",
    address: customer,
    content: { title: "결제 완료", body: `주문 ${orderId}의 결제가 완료되었습니다.` },
  };
  const message = { QueueUrl: process.env.NOTIFICATION_QUEUE_URL, MessageBody: JSON.stringify(notification) };
  await sqs.send(new SendMessageCommand(message));
}
